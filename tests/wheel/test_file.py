"""The wheel as a file: its name, its content, and what its programs ask of the machine that they run on."""
import json
import os
import re
import subprocess

import pytest

from conftest import ROOT

PROGRAM = "ckptfs"
BINARIES = (PROGRAM, "libckptfs.so", "libfuse3.so.3")
# Of glibc; libfuse3.so.3 is in the wheel.
GLIBC = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "ld-linux-x86-64.so.2"}
PROJECT_VERSION = re.search(r"project\(ckptfs VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]


def output_of(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True, **options).stdout


def test_one_file_serves_every_python(wheel_path, wheel):
    assert wheel_path.name == f"ckptfs-{PROJECT_VERSION}-py3-none-manylinux_2_28_x86_64.whl"
    text = wheel.read(f"ckptfs-{PROJECT_VERSION}.dist-info/WHEEL").decode()
    assert re.findall(r"^Tag: (.*)$", text, re.M) == ["py3-none-manylinux_2_28_x86_64"]
    assert "Root-Is-Purelib: false" in text


def test_it_is_small(wheel_path, record_property):
    nbytes = wheel_path.stat().st_size
    record_property("nbytes", nbytes)
    assert nbytes < 5_000_000


def test_auditwheel_agrees_with_the_name(wheel_path):
    # Outside of the wheel it would find this machine's libfuse, which asks for its own glibc.
    environment = {**os.environ, "AUDITWHEEL_LD_LIBRARY_PATH": str(ROOT / "build/wheel/prefix/lib")}
    found = json.loads(output_of(ROOT / "build/wheel/venv/bin/auditwheel", "show", "--json", wheel_path, env=environment))
    major, minor = re.fullmatch(r"manylinux_(\d+)_(\d+)_x86_64", found["sym_tag"]).groups()
    assert (int(major), int(minor)) <= (2, 28)
    assert set(found["external_libs"]) <= {"libfuse3.so.3"}


def test_content(wheel):
    names = set(wheel.namelist())
    sources = ROOT / "src/python/ckptfs"
    python = {f"ckptfs/{path.relative_to(sources)}" for path in sources.rglob("*") if path.suffix in (".py", ".pyi", ".typed")}
    native = {f"ckptfs/_native/{name}" for name in (*BINARIES, "ckptfs-with-libfuse")}
    info = f"ckptfs-{PROJECT_VERSION}.dist-info"
    licenses = {f"{info}/licenses/{name}" for name in (
        "LICENSE", "BUNDLED.txt", "LGPL-2.1.txt", "libcli11.txt", "libcxx.txt", "libdeflate.txt", "libfmt.txt", "libfuse.txt",
        "libpcre2.txt", "libspdlog.txt", "nlohmann-json3.txt")}
    assert names == python | native | licenses | {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}


def test_licences_are_whole_and_say_where_the_source_is(wheel):
    info = f"ckptfs-{PROJECT_VERSION}.dist-info/licenses"
    text = {name: wheel.read(f"{info}/{name}.txt").decode() for name in
            ("BUNDLED", "LGPL-2.1", "libcxx", "libdeflate", "libpcre2")}
    assert re.search(r"fuse3 3\.14\.\d+-\S+ of Debian", text["BUNDLED"]) and "apt-get source fuse3" in text["BUNDLED"]
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in text["LGPL-2.1"] and len(text["LGPL-2.1"]) > 20_000
    assert "LLVM Exceptions" in text["libcxx"] and "Expat" in text["libdeflate"] and "BSD" in text["libpcre2"]


def test_modes(wheel):
    """What is installed gets its modes from the umask, but for the right to run."""
    for member in wheel.infolist():
        mode = member.external_attr >> 16
        assert mode & 0o002 == 0, f"{member.filename} can be written by everybody"
        runs = member.filename.startswith("ckptfs/_native/")
        assert bool(mode & 0o111) == runs and (not runs or mode & 0o777 == 0o755), f"{member.filename} has mode {mode:o}"


@pytest.mark.parametrize("name", BINARIES)
def test_what_is_asked_of_the_machine(native, name):
    dynamic = output_of("readelf", "-dW", native / name)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    assert needed <= GLIBC | ({"libfuse3.so.3"} if name == PROGRAM else set())
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)", output_of("readelf", "-VW", native / name))
    assert versions and max((int(major), int(minor)) for major, minor in versions) <= (2, 28)


@pytest.mark.parametrize("name", BINARIES)
def test_how_it_is_linked(native, name):
    header = output_of("readelf", "-hlW", native / name)
    assert "DYN (" in header and "GNU_RELRO" in header
    assert re.search(r"GNU_STACK .* RW ", header)
    assert "NOW" in output_of("readelf", "-dW", native / name)
    sections = output_of("readelf", "-SW", native / name)
    assert ".symtab" not in sections and ".debug_info" not in sections


@pytest.mark.parametrize("name", BINARIES)
def test_no_path_of_the_machine_that_built_it(native, name):
    content = (native / name).read_bytes()
    for path in {str(ROOT), os.path.expanduser("~") + "/", "/tmp/", "site-packages"}:
        assert path.encode() not in content
    assert (b"/usr/bin/fusermount3" in content) == (name == "libfuse3.so.3")


def test_the_library_shows_the_interface_alone(native):
    shown = {line.split()[7].split("@")[0] for line in output_of("readelf", "--dyn-syms", "-W", native / "libckptfs.so").splitlines()
             if len(line.split()) == 8 and line.split()[4] in ("GLOBAL", "WEAK") and line.split()[6] != "UND"}
    assert shown and all(name.startswith("ckptfs_") for name in shown - {"CKPTFS_1"})


def test_the_bundled_libfuse_has_the_systems_interface(native):
    """The program that was linked with it runs with the system's."""
    versions = set(re.findall(r"Name: (FUSE_[0-9.]+)", output_of("readelf", "-VW", native / "libfuse3.so.3")))
    assert {"FUSE_3.0", "FUSE_3.12"} <= versions
    assert set(re.findall(r"Name: (FUSE_[0-9.]+)", output_of("readelf", "-VW", native / "ckptfs"))) <= versions

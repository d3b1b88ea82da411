"""The package as it is installed: what it costs to import, its types, its script, and what it says when parts are missing."""
import ctypes
import importlib
import importlib.metadata
import inspect
import os
import pathlib
import pkgutil
import re
import shutil
import signal
import statistics
import subprocess
import sys

import ckptfs
import pytest
from ckptfs import _library, _programs
from conftest import ROOT, TAG

PACKAGE = pathlib.Path(ckptfs.__file__).parent
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
SCRIPT = pathlib.Path(sys.executable).parent / "ckptfs"


def python(program, *arguments, **environment):
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})


def test_it_is_installed():
    assert importlib.metadata.version("ckptfs") == ckptfs.__version__
    version = re.search(r"project\(ckptfs VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert ckptfs.__version__ == version
    assert (PACKAGE / "py.typed").exists()


def test_import_is_quick_and_loads_nothing(record_property):
    """The time is recorded, not judged; what makes it short is that these are not loaded."""
    program = ("import sys, time; before = set(sys.modules); begin = time.perf_counter(); import ckptfs\n"
               "print(time.perf_counter() - begin, *sorted(set(sys.modules) - before))")
    runs = [python(program).stdout.split() for _ in range(5)]
    loaded = set(runs[0][1:])
    assert not loaded & {"torch", "numpy", "fsspec", "ctypes", "json", "subprocess", "ckptfs._library"}
    seconds = statistics.median(float(run[0]) for run in runs)
    record_property("import_seconds", seconds)
    print(f"\nimport ckptfs: {seconds * 1000:.1f} ms, {len(loaded)} modules")


def test_reading_loads_neither_torch_nor_numpy(checkpoint):
    done = python("import sys, ckptfs\n"
                  "with ckptfs.open(sys.argv[1], world_size=3) as tree:\n"
                  "    for directory, _, files in tree.walk():\n"
                  "        for name in files: tree.read_bytes(f'{directory}/{name}')\n"
                  "print({'torch', 'numpy', 'fsspec'} & set(sys.modules))", checkpoint())
    assert done.stdout == "set()\n", done.stderr


def test_names_of_the_package():
    assert set(ckptfs.__all__) <= set(dir(ckptfs)) and set(ckptfs.__all__) == set(ckptfs._PLACES)
    for name in ckptfs.__all__:
        assert getattr(ckptfs, name).__module__.startswith("ckptfs.")
    with pytest.raises(AttributeError, match="nonsense"):
        ckptfs.nonsense  # noqa: B018


def public_objects():
    for module in ["ckptfs", *(f"ckptfs.{found.name}" for found in pkgutil.iter_modules([str(PACKAGE)]))]:
        loaded = importlib.import_module(module)
        yield module, loaded
        for name, value in vars(loaded).items():
            if not name.startswith("_") and getattr(value, "__module__", None) == module and callable(value):
                yield f"{module}.{name}", value
                for member, method in vars(value).items() if inspect.isclass(value) else ():
                    if not member.startswith("_") and (inspect.isfunction(method) or isinstance(method, property)):
                        yield f"{module}.{name}.{member}", method


def test_everything_public_says_what_it_does():
    silent = [name for name, value in public_objects() if "._" not in name and not inspect.getdoc(value)]
    assert not silent


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """mypy(PATHS...) -> what it says, strictly."""
    cache = tmp_path_factory.mktemp("mypy")

    def check(*paths):
        environment = {**os.environ, **({} if "site-packages" in str(PACKAGE) else {"MYPYPATH": str(PACKAGE.parent)})}
        return subprocess.run([sys.executable, "-m", "mypy", "--config-file", ROOT / "tests" / "python" / "mypy.ini",
                               "--cache-dir", cache, *paths], capture_output=True, text=True, check=False, env=environment)

    return check


def test_types_hold(mypy):
    done = mypy("-p", "ckptfs")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_program_is_checked_against_the_types(mypy, tmp_path):
    (tmp_path / "right.py").write_text(
        "import pathlib, ckptfs\n"
        "tree: ckptfs.Tree = ckptfs.open('a', world_size=8, ds_config={})\n"
        "reader: ckptfs.ViewReader = tree.open('b')\n"
        "raw: ckptfs.ViewFile = tree.open('b', 0)\n"
        "names: list[str] = tree.listdir()\n"
        "with ckptfs.mount('a', view='weights') as path:\n    found: pathlib.Path = path\n"
        "text: str = ckptfs.verify('a', world_size=3)\n"
        "code: ckptfs.ErrorCode = ckptfs.Error('x').code\n")
    (tmp_path / "wrong.py").write_text("import ckptfs\nckptfs.open('a', worldsize=8)\nckptfs.open('a', world_size='8')\n")
    done = mypy(tmp_path / "right.py", tmp_path / "wrong.py")
    assert re.findall(r"(\w+)\.py:(\d+): error", done.stdout) == [("wrong", "2"), ("wrong", "3")], done.stdout


def test_dependencies_fit():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def script(*arguments, **options):
    return subprocess.run([SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False, **options)


def test_the_script_is_the_program(checkpoint, tmp_path):
    root = checkpoint()
    for arguments in (["--version"], ["inspect", root], ["inspect", tmp_path / "absent"], ["nonsense"], [],
                      ["verify", root], ["verify", tmp_path / "absent"], ["verify"], ["verify", "--nonsense", root]):
        own = script(*arguments)
        direct = subprocess.run([_programs.program(), *map(str, arguments)], capture_output=True, text=True, check=False)
        assert (own.returncode, own.stdout, own.stderr) == (direct.returncode, direct.stdout, direct.stderr)


def test_the_script_verifies_views_with_the_installed_torch(checkpoint, damage):
    root = checkpoint()
    done = script("verify", root, "--world-size=3")
    assert done.returncode == 0 and "read by libtorch" in done.stdout and not done.stderr
    damage(root / TAG / "mp_rank_00_model_states.pt")
    done = script("verify", root, "--world-size=3")
    assert done.returncode == 1 and "problem:" in done.stdout and done.stderr.startswith("ckptfs: ")
    for command in (SCRIPT, _programs.program()):  # a terminal does not say it twice
        done = subprocess.run([command, "verify", root], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 1 and done.stdout.splitlines()[-1].endswith("see above")


def test_the_script_says_that_torch_is_missing(checkpoint):
    """In an environment that has no other packages than this one."""
    program = ("import sys; sys.path = [path for path in sys.path if not path.endswith('site-packages')]\n"
               f"sys.path.insert(0, {str(PACKAGE.parent)!r}) if 'site-packages' not in {str(PACKAGE.parent)!r} else None\n"
               "import importlib.util; find = importlib.util.find_spec\n"
               "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
               f"sys.path.append({str(PACKAGE.parent)!r})\n"
               "from ckptfs._command import main; sys.argv[0] = 'ckptfs'; main()")
    done = python(program, "verify", checkpoint(), "--world-size=3")
    assert done.returncode == 7 and "pip install torch" in done.stderr


def test_the_package_can_be_run(checkpoint):
    """`python -m ckptfs`, as pip and venv are run where a script is not on PATH."""
    root = checkpoint()
    for arguments in (["--version"], ["inspect", root], ["verify", root], ["nonsense"]):
        done = subprocess.run([sys.executable, "-m", "ckptfs", *map(str, arguments)], capture_output=True, text=True, check=False)
        own = script(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (own.returncode, own.stdout, own.stderr)


def test_the_script_becomes_the_program(tmp_path):
    """Its name, its signals and its process are those that the shell gave."""
    program = tmp_path / "ckptfs"
    program.write_text("#!/bin/sh\n"
                       "tr '\\0' '\\n' < /proc/$$/cmdline | tail -n +2 | tr '\\n' ' '; echo; grep SigIgn /proc/$$/status; echo $$\n"
                       "exit 41\n")
    program.chmod(0o755)
    process = subprocess.Popen([SCRIPT, "a b", "--c"], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "CKPTFS_NATIVE": str(tmp_path)})
    said = process.communicate()[0].splitlines()
    assert process.returncode == 41 and said[0] == f"{program} a b --c " and int(said[2]) == process.pid
    ignored = int(said[1].split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1)) and not ignored & (1 << (signal.SIGXFSZ - 1))


def test_the_script_dies_of_a_closed_pipe(checkpoint):
    for command in (["inspect"], ["verify"]):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([SCRIPT, *command, checkpoint(name=command[0])], stdout=writing, stderr=subprocess.PIPE, text=True,
                              check=False)
        os.close(writing)
        assert done.returncode == -signal.SIGPIPE and not done.stderr


def test_what_is_missing_is_named(tmp_path, monkeypatch, checkpoint):
    done = python("import ckptfs; ckptfs.open('x')", CKPTFS_NATIVE=str(tmp_path))
    assert f"CKPTFS_NATIVE names '{tmp_path}', which has no libckptfs.so" in done.stderr
    (tmp_path / "libckptfs.so").write_bytes(b"no library")
    done = python("import ckptfs; ckptfs.open('x')", CKPTFS_NATIVE=str(tmp_path))
    assert "cannot be loaded" in done.stderr and "glibc 2.28" in done.stderr
    done = subprocess.run([SCRIPT, "--version"], env={**os.environ, "CKPTFS_NATIVE": str(tmp_path)}, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 70 and "is missing" in done.stderr
    assert "is missing" in _library._why_not_loaded(tmp_path / "absent" / "libckptfs.so", "") or os.environ.get("CKPTFS_NATIVE")


@needs_compiler
def test_a_library_of_another_version_is_refused(tmp_path):
    source = tmp_path / "other.c"
    source.write_text("unsigned ckptfs_interface_version(void) { return 77; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "libckptfs.so", source], check=True)
    done = python("import ckptfs; ckptfs.open('x')", CKPTFS_NATIVE=str(tmp_path))
    assert "has version 77 of the interface" in done.stderr


@pytest.mark.parametrize("version, bundled, expected", [
    (316, True, "ckptfs"), (314, True, "ckptfs"), (309, True, "ckptfs-with-libfuse"), (None, True, "ckptfs-with-libfuse"),
    (None, False, "ckptfs"), (309, False, "ckptfs")])
def test_which_libfuse_is_taken(tmp_path, monkeypatch, version, bundled, expected):
    class Libfuse:
        @staticmethod
        def fuse_version():
            return version

    def load(name):
        assert name == "libfuse3.so.3"
        if version is None:
            raise OSError("no such library")
        return Libfuse

    (tmp_path / "ckptfs").touch()
    if bundled:
        (tmp_path / "ckptfs-with-libfuse").touch()
    monkeypatch.setenv("CKPTFS_NATIVE", str(tmp_path))
    monkeypatch.setattr(_programs.ctypes, "CDLL", load)
    _programs.program.cache_clear()
    try:
        assert _programs.program() == str(tmp_path / expected)
    finally:
        monkeypatch.undo()
        _programs.program.cache_clear()


def test_the_c_interface_is_the_headers():
    """Numbers and fields, as the header has them."""
    header = (ROOT / "include" / "ckptfs" / "ckptfs.h").read_text()
    assert f"CKPTFS_INTERFACE_VERSION {_library.INTERFACE_VERSION}\n" in header
    declared = set(re.findall(r"\b(ckptfs_\w+)\s*\(", header))
    assert {*_library._SIGNATURES, "ckptfs_interface_version"} <= declared
    module = (ROOT / "include" / "ckptfs" / "torch_module.h").read_text()
    assert f"CKPTFS_TORCH_INTERFACE_VERSION {_library.READER_INTERFACE_VERSION}\n" in module


@needs_compiler
def test_structures_lie_in_memory_as_the_headers_have_them(tmp_path):
    structures = {"ckptfs_failure": _library.Failure, "ckptfs_attributes": _library.Attributes,
                  "ckptfs_streams": _library.Streams, "struct CkptfsTorchFile": _library.ReaderFile,
                  "struct CkptfsTorchSink": _library.ReaderSink, "struct CkptfsTorchModule": _library.Reader}
    lines, expected = [], []
    for name, structure in structures.items():
        lines.append(f'printf("%zu\\n", sizeof({name}));')
        expected.append(ctypes.sizeof(structure))
        for field, *_ in structure._fields_:
            lines.append(f'printf("%zu\\n", offsetof({name}, {field}) * 100 + sizeof((({name}*)0)->{field}));')
            place = getattr(structure, field)
            expected.append(place.offset * 100 + place.size)
    (tmp_path / "sizes.c").write_text('#include <stdio.h>\n#include "ckptfs/ckptfs.h"\nint main(void) {' + "\n".join(lines) + "}")
    subprocess.run(["cc", "-I", ROOT / "include", "-o", tmp_path / "sizes", tmp_path / "sizes.c"], check=True)
    said = subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True).stdout
    assert list(map(int, said.split())) == expected


def test_error_codes_are_the_librarys():
    names = re.search(r"enum class ErrorCode\b.*?\{(.*?)\}", (ROOT / "include/ckptfs/result.h").read_text(), re.S)[1]
    assert re.findall(r"^\s*(\w+)(?: = \d+)?,", names, re.M) == [str(code) for code in ckptfs.ErrorCode]

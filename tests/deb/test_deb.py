"""The package of Debian's: what it says, that lintian has nothing to say, and that it works in a Debian with nothing else."""
import os
import pathlib
import re
import subprocess
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = pathlib.Path(os.environ.get("CKPTFS_PACKAGES", ROOT / "build/packages"))
PROJECT_VERSION = re.search(r"project\(ckptfs VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def deb():
    return PACKAGES / f"ckptfs_{PROJECT_VERSION}-1_amd64.deb"


def fields(deb):
    lines = run("dpkg-deb", "--field", deb).splitlines()
    return dict(line.split(": ", 1) for line in lines if not line.startswith(" ") and ": " in line)


def test_fields(deb):
    found = fields(deb)
    assert found["Package"] == "ckptfs" and found["Version"] == f"{PROJECT_VERSION}-1"
    assert found["Section"] == "utils" and found["Priority"] == "optional" and found["Architecture"] == "amd64"
    assert re.fullmatch(r".+ <.+@.+>", found["Maintainer"])
    assert found["Suggests"] == "ckptfs-torch"
    needed = {word.split()[0] for word in found["Depends"].split(", ")}
    assert {"fuse3", "libc6", "libfuse3-3", "libstdc++6"} <= needed
    assert not [name for name in needed if "torch" in name]


def test_content(deb):
    listed = {line.split()[5].removeprefix(".") for line in run("dpkg-deb", "--contents", deb).splitlines()}
    assert {name for name in listed if not name.endswith("/")} == {
        "/usr/bin/ckptfs", "/usr/sbin/mount.ckptfs", "/usr/lib/systemd/system/ckptfs@.service", "/usr/share/ckptfs/systemd/mnt-run.mount",
        "/usr/share/ckptfs/slurm/prolog", "/usr/share/ckptfs/slurm/epilog", "/usr/share/bash-completion/completions/ckptfs", "/usr/share/zsh/vendor-completions/_ckptfs",
        "/usr/share/man/man1/ckptfs.1.gz", "/usr/share/man/man8/mount.ckptfs.8.gz", "/usr/share/doc/ckptfs/copyright",
        "/usr/share/doc/ckptfs/changelog.Debian.gz", "/usr/share/lintian/overrides/ckptfs",
        *(f"/usr/share/doc/ckptfs/schemas/{name}.json" for name in ("check", "diff", "inspect", "list", "status", "verify"))}


def test_lintian_has_nothing_to_say(deb):
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", deb], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


def test_overrides_are_used(deb):
    shown = run("lintian", "--allow-root", "--show-overrides", deb)
    overrides = (ROOT / "cmake/debian/ckptfs.lintian-overrides").read_text().splitlines()
    for line in overrides:
        if not line.startswith("#"):
            assert line.split(": ", 1)[1] in shown


def mirror():
    """Of this machine's Debian: a site and a release."""
    targets = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT) $(CODENAME)", "Identifier: Packages")
    codename = re.search(r"^VERSION_CODENAME=(\S+)", pathlib.Path("/etc/os-release").read_text(), re.M)[1]
    for line in targets.splitlines():
        site, release, component = line.split()[:3]
        if component == "main" and release == codename:
            return site, codename
    raise AssertionError(f"apt knows no main of {codename}:\n{targets}")


@pytest.fixture(scope="module")
def bare():
    """A Debian of the least packages, in a directory."""
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "only root can make a Debian"
        pytest.skip("only root can make a Debian")
    with tempfile.TemporaryDirectory(prefix="ckptfs-debian-") as directory:
        site, release = mirror()
        run("debootstrap", "--variant=minbase", release, directory, site)
        for name in ("resolv.conf", "hosts"):
            pathlib.Path(directory, "etc", name).write_bytes(pathlib.Path("/etc", name).read_bytes())
        yield pathlib.Path(directory)


SCRIPT = r"""
set -eu
mount -t proc proc "$1/proc"
touch "$1/dev/fuse"
mount --bind /dev/fuse "$1/dev/fuse"
exec chroot "$1" /bin/bash -eu -c '
    export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
    apt-get -qq -o Acquire::Retries=3 -o APT::Sandbox::User=root update
    apt-get -qq -y -o Acquire::Retries=3 -o APT::Sandbox::User=root --no-install-recommends install /ckptfs.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
    ! dpkg-query -W "libtorch*" 2>/dev/null | grep .
    ckptfs --version
    ckptfs inspect /sample --world-size=3 >/dev/null
    mkdir /view
    ckptfs /sample /view --world-size=3
    ls /view/*
    cat /view/*/* >/dev/null
    fusermount3 -u /view
    while grep -q " /view " /proc/mounts; do sleep 0.1; done
    mount -t ckptfs /sample /view -o world-size=2,world-size=5
    echo "through mount: $(ls /view/*/*optim_states.pt | wc -l)"
    umount /view
    while grep -q " /view " /proc/mounts; do sleep 0.1; done
    ckptfs verify /sample --world-size=3 2>&1 && exit 1
    set +eu
    source /usr/share/bash-completion/completions/ckptfs
    COMP_WORDS=(ckptfs insp) COMP_CWORD=1; _ckptfs ckptfs; echo "completed: ${COMPREPLY[*]}"
    COMP_WORDS=(ckptfs inspect --js) COMP_CWORD=2; _ckptfs ckptfs; echo "completed: ${COMPREPLY[*]}"
    set -e
    apt-get -qq -y purge ckptfs >/dev/null 2>&1
    ! find /usr /etc /var/lib/dpkg/info -name "ckptfs*" | grep .
    echo clean
'
"""


def test_a_bare_debian_mounts_with_it(bare, deb):
    (bare / "ckptfs.deb").write_bytes(deb.read_bytes())
    run("cp", "-rL", ROOT / "mount_scripts/sample", bare / "sample")
    said = run("unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh", bare)
    assert f"ckptfs {PROJECT_VERSION}" in said
    assert "through mount: 5" in said, "the last of two options"
    assert len(re.findall(r"bf16_zero_pp_rank_\d+_mp_rank_00_optim_states.pt|zero_pp_rank_\d+_mp_rank_00_optim_states.pt", said)) == 3
    assert "'ckptfs_torch.so' is not in" in said
    assert "completed: inspect" in said and "completed: --json" in said
    assert said.endswith("clean\n")

"""The units of mount_scripts/systemd: what systemd's own tools say of them, and their commands run as systemd would run them.

No systemd runs here as process 1: its part (environment, credentials, capabilities, the filter of system calls, the socket) is the test's.
"""
import configparser
import contextlib
import ctypes
import errno
import os
import pathlib
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
from mounting import BINARY, is_mounted  # noqa: E402
from seccomp import PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER  # noqa: E402
from users import require_root  # noqa: E402

UNITS = REPOSITORY / "mount_scripts" / "systemd"
SAMPLE = REPOSITORY / "mount_scripts" / "sample"
PATIENCE_S = 60
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
# Each of these gives a service a mount namespace of its own (systemd.exec(5)).
OWN_NAMESPACE = {"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateNetwork", "PrivateIPC", "PrivateMounts", "ProtectKernelTunables",
                 "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc", "ProcSubset", "PrivateUsers", "RootDirectory",
                 "RootImage", "ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths", "TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths",
                 "MountFlags", "DynamicUser", "StateDirectory"}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


class Unit(dict):
    """The settings of [Service], each a list of its values."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        section = path.read_text(encoding="utf-8").split("[Service]\n")[1].split("[Install]")[0]
        for line in section.splitlines():
            if line and not line.startswith("#"):
                name, value = line.split("=", 1)
                self.setdefault(name, []).append(value)


@pytest.fixture
def service(tmp_path):
    text = (UNITS / "ckptfs@.service.in").read_text(encoding="utf-8")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ckptfs").symlink_to(BINARY)
    path = tmp_path / "ckptfs@.service"
    path.write_text(text.replace("@CMAKE_INSTALL_FULL_BINDIR@", str(tmp_path / "bin")), encoding="utf-8")
    assert "@CMAKE" not in path.read_text()
    return Unit(path)


def test_systemd_finds_nothing_wrong(service):
    assert run("systemd-analyze", "verify", "--man=no", service.path) == ""


def test_systemd_finds_what_is_wrong(service, tmp_path):
    """Else its silence would say nothing."""
    wrong = tmp_path / "wrong@.service"
    wrong.write_text(service.path.read_text().replace("NoNewPrivileges=yes", "NoNewPrivilege=yes"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", wrong], capture_output=True, text=True, check=False)
    assert "NoNewPrivilege" in done.stderr


def exposure(path):
    return re.search(r"Overall exposure level for \S+: ([0-9.]+)", run("systemd-analyze", "security", "--offline=yes", path))[1]


def test_the_comment_has_the_figures_of_systemd(service, tmp_path):
    version = run("systemd-analyze", "--version").split()[1]
    said = re.search(r"exposure ([0-9.]+) \(systemd (\d+); ([0-9.]+) without", service.path.read_text())
    if version != said[2]:
        pytest.skip(f"the figures are those of systemd {said[2]}, and this is {version}")
    bare = tmp_path / "bare@.service"
    text = service.path.read_text()
    bare.write_text(text[:text.index("# Hardening.")] + text[text.index("[Install]"):])
    assert (exposure(service.path), exposure(bare)) == (said[1], said[3])


def test_the_mount_is_not_hidden_in_a_namespace_of_the_service(service):
    assert not OWN_NAMESPACE & set(service)
    comment = service.path.read_text().split("[Unit]")[0]
    assert {"ProtectSystem", "PrivateTmp", "PrivateDevices"} <= set(re.findall(r"(\w+)=[,.]", comment))
    assert set(re.findall(r"(\w+)=[,.]", comment)) <= OWN_NAMESPACE


def numbers_of_system_calls():
    header = run("sh", "-c", "echo '#include <sys/syscall.h>' | cc -E -dM -")
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)$", header, re.MULTILINE)}


def allowed_calls(lines):
    """The system calls that SystemCallFilter= lets through, by the sets of the installed systemd."""
    sets, current = {}, None
    for line in run("systemd-analyze", "syscall-filter").splitlines():
        if line.startswith("@"):
            current = sets.setdefault(line.strip(), [])
        elif current is not None and line.strip() and not line.strip().startswith("#"):
            current.append(line.strip())

    def expand(word):
        return {word} if not word.startswith("@") else {call for one in sets[word] for call in expand(one)}

    allowed = expand("@default")
    for line in lines:
        calls = {call for word in line.removeprefix("~").split() for call in expand(word)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    assert "read" in allowed and "reboot" not in allowed
    return allowed


def allow_only(numbers):
    """As systemd does: every other system call fails with EPERM."""
    instructions = [(0x20, 0, 0, 0)]
    for number in sorted(numbers):
        instructions += [(0x15, 0, 1, number), (0x06, 0, 0, 0x7fff0000)]
    instructions.append((0x06, 0, 0, 0x00050000 | 1))
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    memory = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    # MemoryDenyWriteExecute=, where the kernel (6.3) has it by itself; systemd 252 does it by another filter.
    assert libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0 or ctypes.get_errno() == errno.EINVAL
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def words_of(command, variables):
    """systemd.service(5): $NAME as a word of its own is split, ${NAME} is not."""
    words = []
    for word in command.split():
        if re.fullmatch(r"\$\w+", word):
            words += shlex.split(variables[word[1:]])
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], word))
    return words


def confined(service, command, variables):
    """A command line of the unit, with its capabilities and its filter of system calls."""
    numbers = numbers_of_system_calls()
    calls = {numbers[call] for call in allowed_calls(service["SystemCallFilter"]) if call in numbers}
    kept = service["CapabilityBoundingSet"][0].lower().replace("cap_", "+").replace(" ", ",")
    # setpriv drops what the bounding set lacks; the filter is set in the process that it becomes.
    inner = [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import test_systemd, os; "
             "test_systemd.allow_only(set(map(int, sys.argv[2].split(',')))); os.execv(sys.argv[3], sys.argv[3:])",
             str(pathlib.Path(__file__).parent), ",".join(map(str, calls | {numbers["execve"]})), *words_of(command, variables)]
    return ["setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all", *inner]


@contextlib.contextmanager
def started(service, options, tmp_path, socket_name):
    """ExecStart= of the unit, when it has said that it is ready; and what it says afterwards."""
    (tmp_path / "mount point").mkdir()
    variables = {"SOURCE": str(SAMPLE), "MOUNTPOINT": str(tmp_path / "mount point"), "OPTIONS": options}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + socket_name[1:] if socket_name.startswith("@") else socket_name)
        manager.settimeout(PATIENCE_S)
        daemon = subprocess.Popen(confined(service, service["ExecStart"][0], variables), cwd="/", stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": socket_name, "PYTHONDONTWRITEBYTECODE": "1"})
        try:
            assert manager.recv(4096) == b"READY=1"
            yield daemon, pathlib.Path(variables["MOUNTPOINT"]), manager, variables
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
            subprocess.run(["umount", "-l", variables["MOUNTPOINT"]], check=False, capture_output=True)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_it_is_up_when_the_mount_answers_and_ends_when_it_is_stopped(service, tmp_path, kind):
    require_root()
    assert service["Type"] == ["notify"] and "@setuid" in service["SystemCallFilter"][-1]
    name = str(tmp_path / "notify") if kind == "path" else f"@ckptfs-test-{os.getpid()}"
    with started(service, "--world-size=3 --allow-other", tmp_path, name) as (daemon, mount_point, manager, _):
        assert is_mounted(str(mount_point).replace(" ", "\\040"))
        [tag] = [path for path in mount_point.iterdir() if path.is_dir()]
        files = list(tag.glob("*optim_states.pt"))
        assert len(files) == 3 and all(len(path.read_bytes()) == path.stat().st_size for path in files)
        status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
        assert int(re.search(r"CapBnd:\t(\w+)", status)[1], 16) == 1 << 21 | 1 << 2  # CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH
        daemon.send_signal(signal.SIGTERM)
        assert manager.recv(4096) == b"STOPPING=1"
        assert daemon.wait(PATIENCE_S) == 0, daemon.stdout.read()
        assert not is_mounted(str(mount_point).replace(" ", "\\040"))


def test_what_a_killed_daemon_leaves_is_cleared(service, tmp_path):
    require_root()
    assert service["Restart"] == ["on-failure"]
    with started(service, "--world-size=3", tmp_path, str(tmp_path / "notify")) as (daemon, mount_point, _, variables):
        daemon.kill()
        daemon.wait()
        with pytest.raises(OSError, match="Transport endpoint is not connected"):
            os.listdir(mount_point)
        run_after_stop(service, variables)
        assert os.listdir(mount_point) == []
        run_after_stop(service, variables)  # and when there is nothing


def run_after_stop(service, variables):
    [after] = service["ExecStopPost"]
    run(*confined(service, after.removeprefix("-"), variables))


def test_what_others_have_mounted_is_left(service, tmp_path):
    """ExecStopPost= runs after a clean stop and a refused start too."""
    require_root()
    with started(service, "--world-size=3", tmp_path, str(tmp_path / "notify")) as (daemon, mount_point, _, variables):
        run_after_stop(service, variables)
        assert [path for path in mount_point.iterdir() if path.is_dir()], "a live mount is there still"
        refused = subprocess.run(words_of(service["ExecStart"][0], variables), capture_output=True, text=True, check=False)
        assert refused.returncode == 6, refused.stderr
        run_after_stop(service, variables)
        assert [path for path in mount_point.iterdir() if path.is_dir()]
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(PATIENCE_S) == 0
        run("mount", "-t", "tmpfs", "none", mount_point)
        (mount_point / "of others").touch()
        run_after_stop(service, variables)
        assert os.listdir(mount_point) == ["of others"]


def test_a_refusal_is_no_reason_to_try_again(service):
    """Exit statuses that docs/cli.md says of what no new start would change."""
    assert service["RestartPreventExitStatus"] == ["2 3 5"]
    done = subprocess.run([BINARY, "--foreground", "--world-size=x", "--", "/nowhere", "/nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    done = subprocess.run([BINARY, "--foreground", "--world-size=2", "--", "/nowhere", "/tmp"], capture_output=True, text=True, check=False)
    assert done.returncode == 3


def test_the_mount_unit(tmp_path):
    unit = UNITS / "mnt-run.mount"
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(unit)
    mount = parser["Mount"]
    assert unit.stem == mount["Where"].strip("/").replace("/", "-")  # or systemd refuses it
    assert run("systemd-analyze", "verify", "--man=no", unit) == ""
    fstab = re.search(r"^#     (/\S+ .*)$", unit.read_text(), re.MULTILINE)[1].split()
    assert fstab[:4] == [mount["What"], mount["Where"], mount["Type"], mount["Options"]]


# mount(8) looks for its helpers in /sbin alone: in a namespace of the test's, there is one more.
WITH_HELPER = r"""
set -eu
mount -t overlay overlay -o "lowerdir=$1:/usr/sbin" /usr/sbin
shift
exec "$@"
"""
ON_MOUNTS = r"""
set -eu
fstab=$PWD/fstab
echo "$SOURCE $PWD/by-table ckptfs world-size=2,world_size=3,allow_other,_netdev,nofail,x-systemd.automount 0 0" > "$fstab"
mkdir by-table by-hand
mount --fstab "$fstab" -a
mount --fstab "$fstab" -a
grep -c " $PWD/by-table " /proc/mounts
mount -t ckptfs "$SOURCE" by-hand -o world-size=4,ro,nosuid
ls by-table/*/*optim* | wc -l
ls by-hand/*/*optim* | wc -l
grep " $PWD/by-hand " /proc/mounts | cut -d " " -f 1-3
umount by-hand by-table
! grep " $PWD/" /proc/mounts
! mount -t ckptfs "$SOURCE" by-hand -o world-size=4,wrld=3
! mount -t ckptfs "$SOURCE" by-hand -o world-size=0
mount -s -t ckptfs "$SOURCE" by-hand -o world-size=4,wrld=3
umount by-hand
mount -f -t ckptfs "$SOURCE" by-hand -o world-size=4
! grep " $PWD/" /proc/mounts
"""


def console_script(path):
    """As pip makes it of a wheel; here of the sources, with the program of the build."""
    path.write_text(f"#!{sys.executable}\nimport os, sys\nsys.path.insert(0, {str(REPOSITORY / 'src/python')!r})\n"
                    f"os.environ['CKPTFS_NATIVE'] = {str(pathlib.Path(BINARY).resolve().parent)!r}\n"
                    "from ckptfs._command import main\nmain()\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("installed_by", ["cmake", "pip"])
def test_mount_takes_the_type(tmp_path, installed_by):
    require_root()
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin" / "mount.ckptfs").symlink_to(BINARY if installed_by == "cmake" else console_script(tmp_path / "ckptfs"))
    (tmp_path / "work").mkdir()
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", WITH_HELPER, "sh", tmp_path / "sbin", "sh", "-c",
                           ON_MOUNTS], cwd=tmp_path / "work", env={**os.environ, "SOURCE": str(SAMPLE)}, capture_output=True, text=True, check=False,
                          timeout=10 * PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n") == ["1", "3", "4", f"{SAMPLE} {tmp_path}/work/by-hand fuse.ckptfs", ""]
    assert "unknown mount option 'wrld=3'" in done.stderr and "world size" in done.stderr

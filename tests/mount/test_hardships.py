"""What a job, its scheduler and its limits do to a daemon: signals, no memory, no processes, no descriptors."""
import concurrent.futures
import contextlib
import ctypes
import json
import os
import pathlib
import pickletools
import platform
import resource
import shutil
import signal
import stat
import struct
import subprocess
import threading
import zipfile

import pytest
import torch

from mount_fixtures import Mount, binary, require_fuse, unmount, wait_until

TAG = "global_step2"
IO_EXIT = 7
MOUNT_POINT_EXIT = 6
MODEL_STATES = "mp_rank_00_model_states.pt"


@pytest.fixture
def point(tmp_path):
    directory = tmp_path / "mount"
    directory.mkdir()
    return directory


def name_of(number):
    return "SIGRTMIN+0" if number == signal.SIGRTMIN else number.name


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGALRM, signal.SIGXCPU,
                                    signal.SIGVTALRM, signal.SIGIO, signal.SIGSTKFLT, signal.SIGRTMIN])
def test_what_schedulers_send_to_whole_jobs_ends_no_mount(source, mounted, number):
    mount = mounted(source, "--world-size=3")
    mount.process.send_signal(number)
    wait_until(lambda: f"{name_of(number)} from process {os.getpid()} of user {os.getuid()} is ignored" in mount.log_text(), "the line in the log")
    assert mount.process.poll() is None
    assert (mount.path / "latest").read_text() == TAG


def test_no_number_that_a_scheduler_may_be_told_to_send_ends_a_mount(source, mounted):
    mount = mounted(source, "--world-size=3")
    for number in (signal.SIGRTMIN + 1, signal.SIGRTMIN + 16, signal.SIGRTMAX):
        mount.process.send_signal(number)
        wait_until(lambda: f"SIGRTMIN+{number - signal.SIGRTMIN} from process" in mount.log_text(), "the line in the log")
    assert mount.process.poll() is None
    assert (mount.path / "latest").read_text() == TAG


def wide_tag(source, nbytes):
    """The model states' pickle becomes a list of that many Nones, each of which is a byte."""
    path = source / TAG / MODEL_STATES
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02](" + b"N" * nbytes + b"e.")
        archive.writestr("archive/version", b"3\n")


def test_a_pickle_that_asks_for_more_memory_than_there_is(checkpoint):
    source = checkpoint("stage1_bf16_ws3")
    wide_tag(source, 20_000_000)
    limit = 800 << 20
    result = subprocess.run([binary(), "inspect", str(source)], capture_output=True, text=True, timeout=60, check=False,
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert result.returncode == IO_EXIT, result.stderr
    assert MODEL_STATES in result.stderr
    assert "give it more" in result.stderr


def test_readers_under_a_limit_of_memory_kill_no_daemon(source, tmp_path):
    mount = Mount(source, tmp_path / "mount", tmp_path / "log", "--world-size=3")
    # What it has it may keep, and no more.
    pages = int(pathlib.Path(f"/proc/{mount.process.pid}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize()
    before = resource.prlimit(mount.process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    names = [path.relative_to(source) for path in sorted(source.rglob("*"))]

    def read_all(_):
        for _ in range(20):
            for name in names:
                with contextlib.suppress(OSError):  # ENOMEM, or EIO: whatever it is, it is answered
                    (mount.path / name).read_bytes()

    with concurrent.futures.ThreadPoolExecutor(24) as readers:
        list(readers.map(read_all, range(24)))
    try:
        # libfuse itself gives a mount up where it has no memory for its buffers. Nothing may be killed by a signal.
        assert mount.process.poll() in (None, 0, MOUNT_POINT_EXIT), mount.log_text()
        if mount.process.poll() is None:
            resource.prlimit(mount.process.pid, resource.RLIMIT_AS, before)
            assert (mount.path / "latest").read_text() == TAG
    finally:
        if mount.process.poll() is None:
            unmount(mount.path)
            mount.wait()
        mount.process.stdout.close()


def status_of(mount):
    return json.loads(subprocess.run([binary(), "status", "--json", mount.path], capture_output=True, text=True, check=True).stdout)


def test_readers_of_two_tags_take_turns_where_there_is_memory_for_one(source, mounted):
    states = torch.load(source / TAG / MODEL_STATES, weights_only=False)
    states["notes"] = [f"note {i}" for i in range(20_000)]  # what a tag keeps is more than what reading it takes then
    torch.save(states, source / TAG / MODEL_STATES)
    other = "global_step3"
    shutil.copytree(source / TAG, source / other)
    ample = mounted(source, "--world-size=3")
    expected = {path.name: path.read_bytes() for path in (ample.path / TAG).iterdir() if path.is_file()}
    one_tag = status_of(ample)["memory"]["counted_nbytes"]
    assert expected and one_tag > 0
    short = mounted(source, "--world-size=3", f"--memory={int(1.5 * one_tag)}", "--read-ahead-memory=0")

    both = threading.Barrier(2, timeout=60)

    def read_all(tag):
        for _ in range(10):
            both.wait()
            assert {name: (short.path / tag / name).read_bytes() for name in os.listdir(short.path / tag)} == expected

    with concurrent.futures.ThreadPoolExecutor(2) as readers:
        list(readers.map(read_all, [TAG, other]))
    assert "memory" not in short.log_text()
    assert status_of(short)["generations_read"] > 2


def without_persistent_ids(path):
    """What describes the storages is a plain tuple then."""
    with zipfile.ZipFile(path) as archive:
        records = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in records:
            if name.endswith("/data.pkl"):
                operations = list(pickletools.genops(data))
                ends = [position for _, _, position in operations[1:]] + [len(data)]
                data = b"".join(data[position:end] for (code, _, position), end in zip(operations, ends)
                                if code.name != "BINPERSID")
            archive.writestr(zipfile.ZipInfo(name), data)


def test_a_damaged_tag_ends_no_daemon_and_no_other_tag(source, mounted):
    shutil.copytree(source / TAG, source / "damaged")
    without_persistent_ids(source / "damaged" / MODEL_STATES)
    verified = subprocess.run([binary(), "verify", str(source), "--tag=damaged"], capture_output=True, text=True,
                              timeout=60, check=False)
    assert verified.returncode == 1, verified
    assert f"damaged/{MODEL_STATES}" in verified.stderr
    mount = mounted(source, "--world-size=3")
    assert os.listdir(mount.path / "damaged")
    with pytest.raises(OSError, match="Input/output error"):
        (mount.path / "damaged" / MODEL_STATES).read_bytes()
    assert len((mount.path / TAG / MODEL_STATES).read_bytes()) > 0
    mount.expect_error(f"damaged/{MODEL_STATES}")


SYSCALLS_THAT_FORK = {"x86_64": [56, 57, 58, 435], "aarch64": [220, 435]}


def without_new_processes():
    """In a child before exec: clone() and fork() fail with EAGAIN from here on, threads too."""
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    instructions = [(0x20, 0, 0, 0)]
    for number in SYSCALLS_THAT_FORK[platform.machine()]:
        instructions += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 11)]
    instructions.append((0x06, 0, 0, 0x7fff0000))
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    memory = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")


@pytest.mark.parametrize("foreground", [[], ["-f"]])
def test_no_process_and_no_thread_to_be_had(source, point, foreground):
    if platform.machine() not in SYSCALLS_THAT_FORK:
        pytest.skip("no numbers of its system calls")
    require_fuse()
    result = subprocess.run([binary(), str(source), str(point), "--world-size=3", *foreground], capture_output=True,
                            text=True, timeout=60, check=False, preexec_fn=without_new_processes)
    assert result.returncode == IO_EXIT, result.stderr
    assert "ulimit -u" in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("ckptfs: ")]) == 1


def test_few_descriptors_do_not_keep_the_callers_standard_error(source, point, tmp_path):
    require_fuse()
    try:
        # The pipes are read to their end: a daemon that kept one would time out.
        result = subprocess.run([binary(), str(source), str(point), "--world-size=3", f"--log-file={tmp_path}/log"],
                                capture_output=True, text=True, timeout=60, check=False,
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)))
        assert result.returncode == 0 or len(result.stderr.splitlines()) == 1, result
    finally:
        if os.path.ismount(point):
            unmount(point)


def test_special_files_are_what_they_are(source, mounted):
    os.mkfifo(source / "pipe")
    mount = mounted(source, "--world-size=3")
    assert stat.S_ISFIFO((mount.path / "pipe").stat().st_mode)
    with os.scandir(mount.path) as listing:
        assert not [entry for entry in listing if entry.name == "pipe" and entry.is_file()]


def test_a_name_that_is_too_long(source, mounted):
    mount = mounted(source, "--world-size=3")
    for length, message in ((255, "No such file"), (256, "File name too long"), (2000, "File name too long")):
        with pytest.raises(OSError, match=message):
            (mount.path / ("n" * length)).stat()


def test_a_daemon_without_syslog_says_once_that_its_log_is_lost(source, point, tmp_path):
    require_fuse()
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "XDG_RUNTIME_DIR": "", "TMPDIR": f"{tmp_path}/temporary"}
    for warned in (not os.path.exists("/dev/log"), False):
        result = subprocess.run([binary(), str(source), str(point), "--world-size=3"], capture_output=True, text=True,
                                timeout=60, check=False, env=environment)
        try:
            assert result.returncode == 0
            assert ("--log-file" in result.stderr) == warned
            assert f"mounted {source} on {point}" in (point / ".ckptfs" / "log").read_text(), "wherever the log goes"
        finally:
            unmount(point)


def test_a_problem_is_printed_once_where_both_streams_are_one(source):
    (source / TAG / MODEL_STATES).write_bytes(b"not a file of torch.save")
    for command in ("verify", "inspect"):
        in_one_line = {**os.environ, "COLUMNS": "10000"}
        apart = subprocess.run([binary(), command, str(source)], capture_output=True, text=True, timeout=60, check=False, env=in_one_line)
        sentence = apart.stderr.rsplit(MODEL_STATES, 1)[-1].strip()
        assert apart.stdout.count(sentence) == 1
        together = subprocess.run([binary(), command, str(source)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=60, check=False, env=in_one_line)
        assert together.returncode == apart.returncode != 0
        assert together.stdout.count(sentence) == 1, together.stdout

"""Runs `ckptfs export`, and compares what it leaves with what a mount shows."""
import contextlib
import os
import pathlib
import re
import signal
import stat
import struct
import subprocess
import time
import zipfile

from mount_fixtures import binary, wait_until

SUMMARY = re.compile(r"exported ([\d,]+) files?, ([\d,]+) bytes, to '(.*)' in .*: ([\d,]+) read, ([\d,]+) copied by the system, "
                     r"([\d,]+) in holes, ([\d,]+) there already")
POLLING_S = 0.0005


class Export:
    """An export that runs. `partial` is where it builds what it will leave."""

    def __init__(self, source, target, *options, prefix=(), program=None, **more):
        self.target = pathlib.Path(target)
        self.partial = pathlib.Path(f"{target}.partial")
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        self.process = subprocess.Popen([*prefix, str(program or binary()), "export", str(source), str(target), *options], text=True, **pipes)

    def has_begun(self):
        """Whether it writes: all that can be refused before has not been."""
        content = self.partial / "content"
        return content.is_dir() and any(content.iterdir())

    def wait_until_begun(self):
        while not self.has_begun():
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(POLLING_S)

    @contextlib.contextmanager
    def stopped_as_it_begins(self):
        """The process stands still meanwhile: hardly a byte is written."""
        self.wait_until_begun()
        self.process.send_signal(signal.SIGSTOP)
        stands_still = pathlib.Path(f"/proc/{self.process.pid}/stat")
        wait_until(lambda: stands_still.read_text().rsplit(")", 1)[1].split()[0] == "T", "it stands still")
        try:
            assert not self.target.exists(), "it has ended already: the checkpoint is too small for this test"
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def end(self):
        """Its exit code, standard output and standard error."""
        out, error = self.process.communicate(timeout=300)
        return self.process.returncode, out, error


def export(source, target, *options, **more):
    """One that has to succeed: its Summary."""
    running = Export(source, target, *options, **more)
    code, out, error = running.end()
    assert code == 0, error
    assert not running.partial.exists()
    return Summary(out)


def refused(source, target, *options, code=2, **more):
    """The sentence of one that must not succeed, nor leave the target."""
    running = Export(source, target, *options, **more)
    existed = running.target.exists()
    returned, _, error = running.end()
    assert returned == code, error
    assert running.target.exists() == existed
    return error.splitlines()[-1]


class Summary:
    """The line at the end, whose numbers are bytes."""

    def __init__(self, out):
        found = SUMMARY.search(out)
        assert found, out
        numbers = [int(number.replace(",", "")) for number in found.group(1, 2, 4, 5, 6, 7)]
        self.files, self.total, self.read, self.copied, self.holes, self.earlier = numbers
        assert self.read + self.copied + self.holes + self.earlier == self.total


def without_warnings(error):
    return [line for line in error.splitlines() if not line.startswith("ckptfs: warning: ")]


def tree(root):
    """What is below `root`: {relative path: lstat}."""
    root = pathlib.Path(root)
    return {str(path.relative_to(root)): path.lstat() for path in [root, *root.rglob("*")]}


def expect_equal(target, shown):
    """`target` is what `shown`, the root of a mount, shows; checksums that the mount leaves out are true."""
    target, shown = pathlib.Path(target), pathlib.Path(shown)
    found, truth = tree(target), tree(shown)
    assert sorted(found) == sorted(truth)
    for path, expected in truth.items():
        status = found[path]
        assert stat.S_IFMT(status.st_mode) == stat.S_IFMT(expected.st_mode), path
        if stat.S_ISLNK(status.st_mode):
            assert os.readlink(target / path) == os.readlink(shown / path)
            continue
        assert stat.S_IMODE(status.st_mode) == stat.S_IMODE(expected.st_mode) & 0o777 | 0o200, path
        assert status.st_mtime_ns == expected.st_mtime_ns, path
        if stat.S_ISREG(status.st_mode):
            expect_equal_file(target / path, shown / path)


def expect_equal_file(path, shown):
    found, truth = path.read_bytes(), shown.read_bytes()
    places = unknown_checksums(shown) if zipfile.is_zipfile(shown) else []
    if places:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
        found, truth = bytearray(found), bytearray(truth)
        for place in places:
            found[place:place + 4] = bytes(4)
            assert truth[place:place + 4] == bytes(4)
    assert found == truth, path


def unknown_checksums(path):
    """Where a zip archive has checksums that are 0, of records with bytes: in the directory, and behind the data."""
    places = []
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at = archive.start_dir
        for record in archive.infolist():
            name, extra, comment = struct.unpack_from("<3H", data, at + 28)
            if record.CRC == 0 and record.file_size:
                local_name, local_extra = struct.unpack_from("<2H", data, record.header_offset + 26)
                descriptor = record.header_offset + 30 + local_name + local_extra + record.file_size
                assert record.flag_bits & 8 and data[descriptor:descriptor + 4] == b"PK\7\x08"
                places += [at + 16, descriptor + 4]
            at += 46 + name + extra + comment
    return places

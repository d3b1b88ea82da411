"""However a file is open in a writable mount, by whom and in which order: every open succeeds, and all see the same bytes.

The kernel refuses with EIO what does not go together: a file that it reads and writes by itself, and any other open of it.
"""
import concurrent.futures
import fcntl
import mmap
import os
import pathlib
import random
import re
import stat
import subprocess
import tempfile

import pytest
from kernel_passthrough import is_stacked, kernel_can_pass_through
from mount_fixtures import binary, wait_until
from writable import PLAIN, Place

SIZE = 2**20 + 70000
ACCESS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR, "a": os.O_WRONLY | os.O_APPEND,
          "a+": os.O_RDWR | os.O_APPEND, "rd": os.O_RDONLY | os.O_DIRECT}


class ModePlace(Place):
    def __init__(self, source, mount, io_mode):
        super().__init__(source, mount)
        self.passes_through = io_mode == "auto" and kernel_can_pass_through() and not is_stacked(source)

    def io(self, field):
        """What the daemon itself has read and written."""
        text = pathlib.Path(f"/proc/{self.mount.process.pid}/io").read_text()
        return int(re.search(rf"^{field}: (\d+)$", text, re.M).group(1))


@pytest.fixture
def place(tmp_path, mounted, io_mode):
    source = tmp_path / "source"
    source.mkdir()
    yield ModePlace(source, mounted(source, PLAIN, "--writable", f"--io={io_mode}"), io_mode)
    Opened.close_all()  # what a failed test has left open would keep the mount busy


def test_the_kernel_writes_and_reads_by_itself_where_it_can(place):
    data = os.urandom(2**20) * 16
    written, read = place.io("wchar"), place.io("rchar")
    (place.path / "f").write_bytes(data)
    written = place.io("wchar") - written
    read_of_requests = place.io("rchar") - read
    read = place.io("rchar")
    assert (place.path / "f").read_bytes() == data
    read = place.io("rchar") - read
    assert (place.source / "f").read_bytes() == data
    if place.passes_through:
        assert max(written, read, read_of_requests) < 2**20
    else:
        assert min(written, read, read_of_requests) >= len(data)
    place.mount.close()
    assert ("the kernel itself read or wrote" in place.mount.log_text()) == place.passes_through


class Opened:
    """A descriptor, and everything that can be done with it, against what the file must hold."""

    now = set()

    def __init__(self, path, access):
        self.access = access
        self.file = os.open(path, ACCESS[access])
        self.now.add(self)

    def check(self, expected):
        """Reads, and writes if it can; `expected` is changed alike."""
        if self.access in ("r", "rw", "a+"):
            for offset, nbytes in ((0, 10), (len(expected) - 5, 100), (4090, 20), (2**20 - 3, 2**20)):
                assert os.pread(self.file, nbytes, offset) == expected[offset:offset + nbytes], (self.access, offset)
            for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
                with mmap.mmap(self.file, len(expected), flags=flags, prot=mmap.PROT_READ) as mapped:
                    assert mapped[4090:4110] == expected[4090:4110]
                    assert mapped[-5:] == expected[-5:]
        if self.access == "rd":
            with mmap.mmap(-1, 4096) as buffer:
                assert os.preadv(self.file, [buffer], 4096) == 4096
                assert buffer[:] == expected[4096:8192]
        if self.access == "rw":
            with mmap.mmap(self.file, len(expected)) as mapped:
                mapped[5000:5008] = expected[5000:5008] = os.urandom(8)
                mapped.flush()
        if self.access in ("w", "rw"):
            for offset in (4095, 2**20 - 1, len(expected) - 2):
                expected[offset:offset + 2] = os.urandom(2)
                assert os.pwrite(self.file, expected[offset:offset + 2], offset) == 2
        if self.access in ("a", "a+"):
            expected += os.urandom(3)
            assert os.write(self.file, expected[-3:]) == 3

    def close(self):
        self.now.remove(self)
        os.close(self.file)

    @classmethod
    def close_all(cls):
        for one in list(cls.now):
            one.close()


def begin(place, name):
    data = bytearray(os.urandom(SIZE))
    (place.source / name).write_bytes(data)
    return place.path / name, data


@pytest.mark.parametrize("first", ACCESS)
def test_two_have_a_file_open_in_any_order(place, first):
    for second in ACCESS:
        path, expected = begin(place, f"{first}-{second}")
        with_both = [Opened(path, first), Opened(path, second)]
        for opened in with_both * 2:
            opened.check(expected)
        with_both[0].close()
        again = Opened(path, first)
        for opened in (with_both[1], again):
            opened.check(expected)
        with_both[1].close()
        again.check(expected)
        again.close()
        last = Opened(path, "rw")
        last.check(expected)
        last.close()
        assert (place.source / path.name).read_bytes() == path.read_bytes() == expected


def test_many_open_and_close_in_a_random_order(place):
    rng = random.Random(20)
    path, expected = begin(place, "f")
    opened = []
    for _ in range(300):
        if opened and rng.random() < 0.45:
            opened.pop(rng.randrange(len(opened))).close()
        else:
            opened.append(Opened(path, rng.choice(list(ACCESS))))
        if opened:
            rng.choice(opened).check(expected)
    for one in opened:
        one.close()
    assert (place.source / "f").read_bytes() == path.read_bytes() == expected


def test_many_threads_open_and_close_one_file_at_once(place):
    """Each has a region of its own, so that what it reads is what it wrote."""
    path, _ = begin(place, "f")
    region = 4096 * 3 + 100

    def work(number):
        rng = random.Random(number)
        mine = bytearray(region)
        with open(path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), mine, number * region)
        for _ in range(150):
            file = os.open(path, rng.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR)))
            flags = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
            at = rng.randrange(region - 100)
            if flags != os.O_RDONLY:
                mine[at:at + 100] = rng.randbytes(100)
                assert os.pwrite(file, mine[at:at + 100], number * region + at) == 100
            if flags != os.O_WRONLY:
                assert os.pread(file, region, number * region) == mine
            os.close(file)
        return bytes(mine)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        regions = list(pool.map(work, range(8)))
    assert (place.source / "f").read_bytes().startswith(b"".join(regions))
def test_each_write_appends_as_fcntl_said_last(place):
    """Only what the kernel passes through, and has opened with O_APPEND, appends for good."""
    ours, theirs = place.both("f")
    theirs.write_bytes(b"0123456789")
    with open(ours, "r+b", buffering=0) as file, open(theirs, "ab", buffering=0) as other:
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
        for _ in range(3):
            other.write(b"b")
            assert os.write(file.fileno(), b"a") == 1
        assert theirs.read_bytes() == b"0123456789bababa", "nobody has overwritten anybody"
        fcntl.fcntl(file, fcntl.F_SETFL, 0)
        assert os.pwrite(file.fileno(), b"X", 2) == 1
    with open(ours, "ab", buffering=0) as file:
        file.write(b"c")
        fcntl.fcntl(file, fcntl.F_SETFL, 0)
        assert os.pwrite(file.fileno(), b"YY", 4) == 2
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
        file.write(b"d")
    assert theirs.read_bytes() == (b"01X3456789bababacYYd" if place.passes_through else b"01X3YY6789bababacd")


def test_hard_links_are_one_file(place):
    path, expected = begin(place, "f")
    os.link(path, place.path / "g")
    writer, reader = Opened(path, "rw"), Opened(place.path / "g", "r")
    for opened in (writer, reader):
        opened.check(expected)
    os.unlink(path)
    reader.check(expected)
    for opened in (writer, reader):
        opened.close()
    assert (place.source / "g").read_bytes() == expected


def test_a_file_that_is_replaced_while_it_is_open_is_another(place):
    path, old = begin(place, "f")
    writer = Opened(path, "rw")
    writer.check(old)
    other, new = begin(place, "g")
    os.rename(place.source / "g", place.source / "f")  # behind the mount's back
    assert path.stat().st_size == SIZE
    wait_until(lambda: path.read_bytes() == new, "the new file is seen")
    writer.check(old)
    second = Opened(path, "rw")
    second.check(new)
    writer.check(old)
    assert not other.exists()
    for opened in (writer, second):
        opened.close()
    assert (place.source / "f").read_bytes() == path.read_bytes() == new


def test_a_mapping_outlives_its_descriptor_and_other_opens_come(place):
    path, expected = begin(place, "f")
    opened = Opened(path, "rw")
    with mmap.mmap(opened.file, SIZE) as mapped:
        opened.close()
        mapped[100:104] = expected[100:104] = b"once"
        later = Opened(path, "rw")
        mapped.flush()
        later.check(expected)
        assert mapped[4095:4097] == expected[4095:4097]
        later.close()
        mapped[100:104] = expected[100:104] = b"more"
    os.sync()
    assert (place.source / "f").read_bytes() == path.read_bytes() == expected


def test_a_set_user_id_file_is_written_by_the_daemon(place):
    path, expected = begin(place, "f")
    os.chmod(path, 0o4755)
    writer, reader = Opened(path, "rw"), Opened(path, "r")
    for opened in (writer, reader):
        opened.check(expected)
        opened.close()
    assert (place.source / "f").read_bytes() == expected
    if os.geteuid() == 0:
        assert stat.S_IMODE((place.source / "f").stat().st_mode) == 0o4755


def test_a_source_on_a_stacked_file_system_goes_through_the_daemon(tmp_path, mounted):
    """overlayfs below a writable mount, for those who want SOURCE untouched."""
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "only root can mount one"
        pytest.skip("only root can mount one")
    base = pathlib.Path("/dev/shm") if is_stacked(tmp_path) else tmp_path
    with tempfile.TemporaryDirectory(dir=base) as directory:
        lower, upper, work, merged = (pathlib.Path(directory) / name for name in ("lower", "upper", "work", "merged"))
        for made in (lower, upper, work, merged):
            made.mkdir()
        (lower / "f").write_bytes(b"below")
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        f"lowerdir={lower},upperdir={upper},workdir={work}", merged], check=True)
        try:
            mount = mounted(merged, PLAIN, "--writable")
            place = ModePlace(merged, mount, "auto")
            assert not place.passes_through
            path, expected = begin(place, "g")
            opened = Opened(path, "rw")
            opened.check(expected)
            opened.close()
            (mount.path / "f").write_bytes(b"above")
            assert (merged / "f").read_bytes() == b"above"
            assert (lower / "f").read_bytes() == b"below"
            mount.close()
        finally:
            subprocess.run(["umount", merged], check=True)
        if kernel_can_pass_through():
            assert "all bytes go through this process" in mount.log_text()


def test_a_daemon_that_may_not_hand_files_over_moves_the_bytes_itself(tmp_path):
    """Root in a user namespace of its own: the kernel offers what it then refuses."""
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "only root may be root in a user namespace with this device"
        pytest.skip("only root may be root in a user namespace with this device")
    source, point, log = tmp_path / "source", tmp_path / "mount", tmp_path / "log"
    source.mkdir()
    point.mkdir()
    script = """
"$1" "$2" "$3" "--log-file=$4" --world-size=2 --writable || exit 10
echo written > "$3/f" && cat "$3/f" > "$3/g" && echo more >> "$3/f" || exit 11
fusermount3 -u "$3"
"""
    result = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "--propagation", "slave", "sh", "-c", script, "sh",
                             binary(), source, point, log], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr + log.read_text()
    assert (source / "f").read_text() == "written\nmore\n"
    assert (source / "g").read_text() == "written\n"
    text = log.read_text()
    refusals = text.count("(Operation not permitted): all bytes go through this process")
    assert refusals == (1 if kernel_can_pass_through() else 0), text
    assert " error " not in text

"""python3 -m ckptfs.mounter: a privileged program mounts for a ckptfs that has no rights, and hands the descriptor over a socket."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest
from descriptors import MNT_DETACH, unmount
from mount_fixtures import ROOT, binary, require_fuse, wait_until
from users import User, outcome, require_root

TAG = "global_step2"
PYTHON = "/usr/bin/python3"  # which every user may run
USER = User(20001, 20001)
OTHER = User(20002, 20002)


def mounter(*arguments, user=None, **more):
    identity = {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}
    return subprocess.Popen([PYTHON, "-m", "ckptfs.mounter", *map(str, arguments)], stdin=subprocess.DEVNULL, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT / "src" / "python")}, **identity, **more)


def mounts(directory):
    points = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{directory}/")]


class Offer:
    """The privileged side. `log`: what it says."""

    def __init__(self, place, *options):
        self.socket, self.views = place / "socket", place / "views"
        self.log = place / f"offer{len(list(place.glob('offer*')))}.log"
        with open(self.log, "wb") as log:
            self.process = mounter("offer", self.socket, self.views, *options, stderr=log)
        wait_until(lambda: self.process.poll() is not None or "offers mounts" in self.log.read_text(), "mounts are offered")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def place(checkpoint):
    """A directory that everybody may search, with a checkpoint `run` that everybody may read; nothing stays mounted in it."""
    require_root()
    require_fuse()
    with tempfile.TemporaryDirectory(prefix="ckptfs-mounter-") as directory:
        where = pathlib.Path(directory)
        os.chmod(where, 0o755)
        shutil.move(checkpoint(), where / "run")
        subprocess.run(["chmod", "-R", "a+rX", where / "run"], check=True)
        try:
            yield where
        finally:
            for point in mounts(where):
                unmount(point, MNT_DETACH)


@pytest.fixture
def offers(place):
    made = []

    def offer(*options):
        made.append(Offer(place, *options))
        return made[-1]

    yield offer
    for one in made:
        if one.process.poll() is None:
            assert one.end() == 0


@pytest.fixture
def take(place):
    """take(offer, name, ...) -> the process that becomes ckptfs."""
    taken = []

    def start(offer, name, *options, user=USER, source="run", command=None, taking=()):
        command = command or [binary(), place / source, "{}", "-f", f"--log-file={place}/log-{name}-{user.uid}", "--world-size=3", *options]
        if user.uid:
            (place / f"log-{name}-{user.uid}").touch()
            os.chown(place / f"log-{name}-{user.uid}", user.uid, user.gid)
        taken.append(mounter("take", offer.socket, name, *taking, "--", *command, user=user, stderr=subprocess.PIPE))
        return taken[-1]

    yield start
    for process in taken:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        process.stderr.close()


def shards(view):
    return sorted(name for name in os.listdir(view / TAG) if "optim_states" in name)


def test_a_process_without_rights_serves_what_is_mounted_for_it(place, offers, take):
    offer = offers()
    daemon = take(offer, "run")
    view = offer.views / "run"
    wait_until(lambda: mounts(place) == [str(view)], "it is mounted")
    assert len(outcome(lambda: shards(view), USER)) == 3  # which waits until it is served
    assert outcome(lambda: os.listdir(view), OTHER) == "EACCES"
    assert outcome(lambda: os.listdir(view)) == "EACCES"
    [line] = [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(view) in line]
    assert line.startswith(f"{place}/run ") and " ro," in line
    identity = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    assert f"Uid:\t{USER.uid}\t" in identity and "CapEff:\t0000000000000000" in identity
    assert "ckptfs.mounter" not in pathlib.Path(f"/proc/{daemon.pid}/cmdline").read_text(), "it became COMMAND"
    daemon.terminate()
    assert daemon.wait(60) == 0
    wait_until(lambda: os.listdir(offer.views) == [], "what is not served any longer is unmounted")
    assert mounts(place) == []


def test_a_killed_daemon_is_unmounted_too_and_its_name_is_free_again(place, offers, take):
    offer = offers()
    for _ in range(2):
        daemon = take(offer, "run")
        view = offer.views / "run"
        wait_until(lambda: mounts(place) == [str(view)], "it is mounted")
        assert len(outcome(lambda: shards(view), USER)) == 3
        daemon.kill()
        daemon.wait()
        wait_until(lambda: not os.path.lexists(view), "it is unmounted")


def test_what_is_written_is_written_by_the_user(place, offers, take):
    os.chown(place / "run", USER.uid, USER.gid)
    offer = offers()
    take(offer, "run", "--writable", taking=("--writable",))
    wait_until(lambda: mounts(place) != [], "it is mounted")
    assert outcome(lambda: (offer.views / "run" / "new").write_text("x"), USER) == 1
    assert (place / "run" / "new").stat().st_uid == USER.uid


def test_all_are_let_in_where_that_is_offered(place, offers, take):
    (place / "run" / "secret").write_text("x")
    os.chown(place / "run" / "secret", USER.uid, USER.gid)
    os.chmod(place / "run" / "secret", 0o600)
    offer = offers("--allow-other")
    take(offer, "run")
    wait_until(lambda: mounts(place) != [], "it is mounted")
    assert len(outcome(lambda: shards(offer.views / "run"), OTHER)) == 3
    assert outcome((offer.views / "run" / "secret").read_text, OTHER) == "EACCES"
    assert outcome((offer.views / "run" / "secret").read_text, USER) == "x"


def test_a_name_is_one_process_s(place, offers, take):
    offer = offers()
    take(offer, "run")
    wait_until(lambda: mounts(place) != [], "it is mounted")
    second = take(offer, "run", user=OTHER)
    assert second.wait(60) == 6
    assert "is there already: another process has that name" in second.stderr.read()
    take(offer, "another", user=OTHER)
    wait_until(lambda: len(mounts(place)) == 2, "two are mounted")
    assert len(outcome(lambda: shards(offer.views / "another"), OTHER)) == 3
    assert len(outcome(lambda: shards(offer.views / "run"), USER)) == 3


@pytest.mark.parametrize("name", ["../run", ".hidden", "", "a/b", "x" * 101])
def test_a_name_stays_in_the_directory(place, offers, take, name):
    offer = offers()
    process = take(offer, name, user=User(0, 0), command=["true", "{}"])
    assert process.wait(60) == 6
    assert "is no name for a mount point" in process.stderr.read()
    assert mounts(place) == [] and os.listdir(offer.views) == []


def test_nonsense_is_answered_and_the_next_one_is_served(place, offers, take):
    offer = offers()
    for message in (b"hello", b"[1]", b'{"name": 3, "source": "", "mode": ""}', b"\xff", b"[" * 8000,
                    b'{"name": "x", "source": "\\ud800", "mode": ""}'):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(str(offer.socket))
            connection.send(message)
            assert connection.recv(1000) == b"this is not a request of `ckptfs.mounter take`"
    take(offer, "run")
    wait_until(lambda: mounts(place) != [], "it is mounted")
    assert len(outcome(lambda: shards(offer.views / "run"), USER)) == 3


def test_who_asks_for_nothing_is_let_go(place, offers):
    offer = offers()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(offer.socket))
        connection.settimeout(60)
        assert connection.recv(1000) == b"timed out"
        assert connection.recv(1000) == b""


def test_the_end_of_the_offer_ends_its_mounts(place, offers, take):
    offer = offers()
    daemon = take(offer, "run")
    wait_until(lambda: mounts(place) != [], "it is mounted")
    assert len(outcome(lambda: shards(offer.views / "run"), USER)) == 3
    assert offer.end() == 0
    assert mounts(place) == [] and os.listdir(offer.views) == [] and not offer.socket.exists()
    assert daemon.wait(60) == 0


def test_a_new_offer_clears_what_a_killed_one_left(place, offers, take):
    first = offers()
    daemon = take(first, "run")
    wait_until(lambda: mounts(place) != [], "it is mounted")
    first.process.kill()
    first.process.wait()
    assert len(outcome(lambda: shards(first.views / "run"), USER)) == 3, "it is served on"
    second = offers()
    assert mounts(place) == []
    assert daemon.wait(60) == 0
    take(second, "run")
    wait_until(lambda: mounts(place) != [], "it is mounted again")
    assert len(outcome(lambda: shards(second.views / "run"), USER)) == 3


def test_what_others_have_mounted_stays(place, offers):
    other = place / "views" / "of-others"
    other.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "ckptfs-test", other], check=True)
    try:
        offer = offers()
        assert mounts(place) == [str(other)]
        offer.end()
        assert mounts(place) == [str(other)]
    finally:
        unmount(other, MNT_DETACH)


def test_what_is_wrong_with_a_request_is_said(place, offers, take):
    offer = offers()
    process = take(offer, "run", command=["true"])
    assert process.wait(60) == 6 and "put {} in its arguments" in process.stderr.read()
    assert offer.end() == 0
    process = take(offer, "run")
    assert process.wait(60) == 6 and f"nobody offers mounts at '{offer.socket}'" in process.stderr.read()


def test_an_offer_without_rights_says_what_is_missing(place, offers, take):
    os.mkdir(place / "own")
    os.chown(place / "own", USER.uid, USER.gid)
    process = mounter("offer", place / "own" / "socket", place / "own" / "views", user=USER, stderr=subprocess.PIPE)
    wait_until((place / "own" / "socket").exists, "mounts are offered")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(place / "own" / "socket"))
        connection.send(b'{"name": "run", "source": "/run", "mode": "read-only"}')
        assert b"/dev/fuse" in connection.recv(1000)
    process.terminate()
    assert process.wait(60) == 0
    process.stderr.close()

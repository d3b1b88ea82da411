"""SLURM's prolog and epilog, run as slurmd runs them: as root, with its variables, and with nothing of the user's but the comment.

SLURM itself is not installed here: that it calls them, and when, is what its documentation says.
"""
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
from mounting import BINARY  # noqa: E402
from users import User, in_child, let_users_mount, require_root  # noqa: E402

SCRIPTS = REPOSITORY / "mount_scripts" / "slurm"
SAMPLE = REPOSITORY / "mount_scripts" / "sample"
PATIENCE_S = 60


def owner():
    """Somebody whom the databases of users know."""
    import pwd
    entry = pwd.getpwnam("nobody")
    return User(entry.pw_uid, entry.pw_gid)


class Node:
    def __init__(self, path):
        self.path, self.user = path, owner()
        self.root = path / "run"
        self.source = path / "checkpoints"
        subprocess.run(["cp", "-r", SAMPLE, self.source], check=True)
        path.chmod(0o755)
        (path / "bin").mkdir()
        # A user cannot read the repository of the tests everywhere.
        subprocess.run(["cp", "-L", BINARY, path / "bin/ckptfs"], check=True)

    def run(self, script, job, comment=None, nodes=1, changed=None):
        """`changed`: variables that are otherwise than SLURM sets them; None: not at all."""
        variables = {"SLURM_JOB_ID": str(job), "SLURM_JOB_UID": str(self.user.uid), "SLURM_JOB_GID": str(self.user.gid), "SLURM_JOB_USER": "nobody",
                     "SLURM_JOB_NUM_NODES": str(nodes), "CKPTFS_SLURM_ROOT": str(self.root),
                     "CKPTFS_SLURM_PATH": f"{self.path}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        if comment is not None:
            variables["SLURM_JOB_COMMENT"] = comment
        variables.update(changed or {})
        variables = {name: value for name, value in variables.items() if value is not None}
        done = subprocess.run([SCRIPTS / script], env=variables, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_S)
        assert done.returncode == 0, "the node would be taken out of service"

    def replace_ckptfs(self, *lines):
        """By a script, which writes the number of the one process that it leaves, if any, to `left`."""
        (self.path / "bin/ckptfs").unlink()
        (self.path / "bin/ckptfs").write_text("\n".join(["#!/bin/sh", *lines, ""]).replace("LEFT", str(self.path / "state/left")), encoding="utf-8")
        (self.path / "bin/ckptfs").chmod(0o755)
        (self.path / "state").mkdir()
        os.chown(self.path / "state", self.user.uid, self.user.gid)

    def reason(self, job, name):
        return (self.root / str(job) / f"{name}.error").read_text()

    def mounts(self):
        return [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if f" {self.root}/" in line]

    def end(self):
        for point in self.mounts():
            subprocess.run(["umount", "-l", point], check=False)


@pytest.fixture(scope="module", autouse=True)
def users_may_mount(tmp_path_factory):
    require_root()
    let_users_mount(tmp_path_factory.mktemp("device"))


@pytest.fixture
def node(tmp_path_factory):
    import tempfile
    with tempfile.TemporaryDirectory(prefix="ckptfs-slurm-") as directory:
        node = Node(pathlib.Path(directory))
        yield node
        node.end()


def daemons_of(node):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(str(node.source)) in words and b"ckptfs" in words[0]:
            found.append(int(path.parent.name))
    return found


def gone(condition):
    end = time.monotonic() + PATIENCE_S
    while condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def optimizer_files(directory):
    return len(list(pathlib.Path(directory).glob("*/*optim_states.pt")))


def test_a_job_finds_its_view_at_the_number_of_its_nodes_and_leaves_nothing(node):
    node.run("prolog", 17, comment=f"night run ckptfs={node.source}:3", nodes=2)
    view = node.root / "17" / "checkpoints"
    assert node.mounts() == [str(view)]
    assert in_child(lambda: optimizer_files(view), node.user) == 6
    [daemon] = daemons_of(node)
    assert pathlib.Path(f"/proc/{daemon}").stat().st_uid == node.user.uid, "nothing of it runs as root"
    assert not (node.root / "17" / "checkpoints.error").exists()
    node.run("epilog", 17)
    assert node.mounts() == [] and not (node.root / "17").exists()
    gone(lambda: daemons_of(node))
    assert optimizer_files(node.source) == 4, "what was mounted is untouched"


def test_without_a_number_every_world_size_is_there(node):
    node.run("prolog", 18, comment=f"ckptfs={node.source}")
    assert in_child(lambda: optimizer_files(node.root / "18" / "checkpoints" / "world-size-5"), node.user) == 5
    node.run("epilog", 18)
    assert node.mounts() == []


def test_jobs_do_not_touch_each_others_views(node):
    for job in (1, 11):
        node.run("prolog", job, comment=f"ckptfs={node.source}:{job}")
    node.run("epilog", 1)
    assert node.mounts() == [str(node.root / "11" / "checkpoints")]
    assert in_child(lambda: optimizer_files(node.root / "11" / "checkpoints"), node.user) == 11
    node.run("epilog", 11)
    assert node.mounts() == []


def test_after_a_killed_job_and_a_killed_daemon(node):
    node.run("prolog", 19, comment=f"ckptfs={node.source}:2")
    [daemon] = daemons_of(node)
    os.kill(daemon, signal.SIGKILL)
    with pytest.raises(AssertionError, match="Transport endpoint is not connected"):
        in_child(lambda: os.listdir(node.root / "19" / "checkpoints"), node.user)
    node.run("epilog", 19)
    assert node.mounts() == [] and not (node.root / "19").exists()


def test_after_a_daemon_that_hangs(node):
    node.run("prolog", 19, comment=f"ckptfs={node.source}:2")
    [daemon] = daemons_of(node)
    os.kill(daemon, signal.SIGSTOP)
    try:
        node.run("epilog", 19)
        assert node.mounts() == []
    finally:
        os.kill(daemon, signal.SIGCONT)
    gone(lambda: daemons_of(node))


def test_after_a_job_of_which_something_is_left(node):
    """A process that cannot be killed, say: the node is free all the same."""
    node.run("prolog", 20, comment=f"ckptfs={node.source}:2")
    view = node.root / "20" / "checkpoints"
    left = subprocess.Popen(["setpriv", f"--reuid={node.user.uid}", f"--regid={node.user.gid}", "--clear-groups", "sleep", "1000"], cwd="/")
    held = subprocess.Popen(["setpriv", f"--reuid={node.user.uid}", f"--regid={node.user.gid}", "--clear-groups", "sh", "-c",
                             'cd "$0" && exec sleep 1000', view], stdin=subprocess.DEVNULL)
    try:
        gone(lambda: os.readlink(f"/proc/{held.pid}/cwd") != str(view))
        node.run("epilog", 20)
        assert node.mounts() == [] and not (node.root / "20").exists()
    finally:
        for process in (left, held):
            process.kill()
            process.wait()
    gone(lambda: daemons_of(node))


def test_what_cannot_be_mounted_is_said_where_the_view_would_be(node):
    node.run("prolog", 21, comment=f"ckptfs={node.path}/nothing:2 ckptfs={node.source}:2")
    assert "nothing" in (node.root / "21" / "nothing.error").read_text()
    assert not (node.root / "21" / "nothing").exists()
    assert node.mounts() == [str(node.root / "21" / "checkpoints")], "the other is there"
    node.run("epilog", 21)
    assert not (node.root / "21").exists()


def test_what_a_user_may_not_read_is_not_shown(node):
    node.source.chmod(0o700)
    node.run("prolog", 22, comment=f"ckptfs={node.source}:2")
    assert node.mounts() == [] and "Permission denied" in (node.root / "22" / "checkpoints.error").read_text()
    node.run("epilog", 22)


@pytest.mark.parametrize("comment", [None, "", "a night run", "ckptfs=relative:2", "ckptfs="])
def test_other_jobs_are_left_alone(node, comment):
    node.run("prolog", 23, comment=comment)
    assert not node.root.exists()
    node.run("epilog", 23)


def test_a_comment_is_no_command(node):
    mark = node.path / "mark"
    node.run("prolog", 24, comment=f"ckptfs=/$(touch${{IFS}}{mark}):2 ckptfs=/`touch${{IFS}}{mark}` ckptfs=/--help:2 ckptfs=/x:9$(touch {mark}) * ckptfs=/..:2")
    assert not mark.exists() and node.mounts() == []
    node.run("epilog", 24)
    assert not (node.root / "24").exists()


@pytest.mark.parametrize("value", [None, "", "two", "x[$(touch MARK)]", "1 2", "-1", "08x"])
@pytest.mark.parametrize("variable", ["SLURM_JOB_NUM_NODES", "SLURM_JOB_UID", "SLURM_JOB_GID"])
def test_a_variable_that_slurm_has_not_set_as_it_should(node, variable, value):
    mark = node.path / "mark"
    value = value and value.replace("MARK", str(mark))
    node.run("prolog", 25, comment=f"ckptfs={node.source}:2", changed={variable: value})
    assert f"{variable} is '{value or ''}'" in node.reason(25, "checkpoints")
    assert node.mounts() == [] and not mark.exists() and not (node.root / "25" / "checkpoints").exists()
    node.run("epilog", 25, changed={variable: value})
    assert not (node.root / "25").exists()


def test_a_number_of_nodes_is_not_needed_for_every_world_size(node):
    node.run("prolog", 26, comment=f"ckptfs={node.source}", changed={"SLURM_JOB_NUM_NODES": None})
    assert node.mounts() == [str(node.root / "26" / "checkpoints")]
    node.run("epilog", 26)


@pytest.mark.parametrize("job", [None, "", "../1", "$(id)"])
def test_without_the_number_of_the_job_nothing_is_done(node, job):
    for script in ("prolog", "epilog"):
        node.run(script, 27, comment=f"ckptfs={node.source}:2", changed={"SLURM_JOB_ID": job})
    assert not node.root.exists()


@pytest.mark.parametrize("ranks", ["0", "1048577", "99999999999999999999", "18446744073709551618"])
def test_a_number_of_ranks_that_cannot_be(node, ranks):
    node.run("prolog", 28, comment=f"ckptfs={node.source}:{ranks}")
    assert node.mounts() == [] and "1048576" in node.reason(28, "checkpoints").replace(",", "")
    node.run("epilog", 28)


def test_a_name_that_no_directory_can_have(node):
    node.run("prolog", 29, comment=f"ckptfs=/{'x' * 3000}:2")
    assert "name too long" in node.reason(29, "x" * 100)
    node.run("epilog", 29)


def test_a_job_gets_so_many_views(node):
    node.run("prolog", 30, comment=" ".join([f"ckptfs={node.source}:2"] * 9))
    assert node.mounts() == [str(node.root / "30" / name) for name in ("checkpoints", "view1", "view2", "view3")]
    assert "more than 4 views" in node.reason(30, "too-many")
    node.run("epilog", 30)
    assert node.mounts() == [] and not (node.root / "30").exists()


def test_one_deadline_is_for_all_views(node):
    """The first takes all the time there is, and does not heed SIGTERM."""
    node.replace_ckptfs("trap '' TERM", "echo $$ > LEFT", "while :; do sleep 0.1; done")
    node.run("prolog", 31, comment=f"ckptfs={node.source}:2 ckptfs=/second:2 ckptfs=/third", changed={"CKPTFS_SLURM_SECONDS": "1"})
    gone(lambda: os.path.exists(f"/proc/{(node.path / 'state/left').read_text().strip()}"))
    assert "in time" in node.reason(31, "checkpoints")
    assert "no time is left" in node.reason(31, "second") and "no time is left" in node.reason(31, "third")
    node.run("epilog", 31)
    assert not (node.root / "31").exists()


@pytest.mark.parametrize("status", [0, 9])
def test_what_a_daemon_holds_open_is_not_waited_for(node, status):
    node.replace_ckptfs("setsid sleep 1000 &", "echo $! > LEFT", "echo said >&2", f"exit {status}")
    try:
        node.run("prolog", 32, comment=f"ckptfs={node.source}:2")
        left = int((node.path / "state/left").read_text())
        assert os.readlink(f"/proc/{left}/fd/2").startswith(str(node.root)), "it is there, and holds it"
    finally:
        os.kill(int((node.path / "state/left").read_text()), signal.SIGKILL)
    assert (node.root / "32" / ("checkpoints.error" if status else "checkpoints.warnings")).read_text() == "said\n"
    assert (node.root / "32" / "checkpoints").exists() == (status == 0)
    node.run("epilog", 32)


def test_the_reason_is_for_the_user_to_read(node):
    node.replace_ckptfs("echo said >&2", "exit 9")
    before = os.umask(0o077)
    try:
        node.run("prolog", 33, comment=f"ckptfs={node.source}:2")
    finally:
        os.umask(before)
    assert in_child(lambda: node.reason(33, "checkpoints"), node.user) == "said\n"
    node.run("epilog", 33)

"""ckptfs status, list and umount, the directory of a mount's own files, and what goes to its log."""
import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import tempfile

import pytest
from jsonschema import Draft202012Validator
from mount_fixtures import binary, daemons_naming, Mount, mounts_below, require_fuse, unmount, wait_until
from users import in_child, outcome, require_root, User

TAG = "global_step2"
SHARD = "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
USER = User(20001, 20001)
STRANGER = User(20003, 20003)
OWN = ".ckptfs"
SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "schemas"
KINDS = {  # of mounts that differ in what their root is
    "world-size-3": ("--world-size=3",),
    "weights": ("--view=weights",),
    "catalogue": (),
    "world-size-2": ("--world-size=2", "--writable"),
}


def ckptfs(*args, **more):
    return subprocess.run([binary(), *map(str, args)], capture_output=True, text=True, timeout=120, check=False, **more)


def checked(name, text):
    """What `ckptfs NAME --json` has printed, once it is what its schema says."""
    value = json.loads(text)
    Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text())).validate(value)
    return value


def status_of(mount):
    result = ckptfs("status", "--json", mount.path)
    assert result.returncode == 0, result.stderr
    return checked("status", result.stdout)


def requests_of(status, operation):
    found = [one for one in status["requests"]["operations"] if one["name"] == operation]
    return found[0] if found else {"count": 0, "errors": 0, "nbytes": 0, "latencies": []}


@pytest.mark.parametrize("view", KINDS)
def test_every_mount_says_how_it_fares_and_lists_nothing_of_it(source, mounted, view):
    mount = mounted(source, *KINDS[view])
    assert OWN not in os.listdir(mount.path)
    own = mount.path / OWN
    assert sorted(os.listdir(own)) == ["daemon", "log", "metrics.prom", "status", "status.json", "view"]
    for name in os.listdir(own):
        assert (own / name).read_text(), name
    assert (own / "view").read_text() == view
    status = status_of(mount)
    assert (status["schema_version"], status["view"], status["source"], status["mount_point"]) == (1, view, str(source), str(mount.path))
    assert status["process"] == mount.process.pid
    assert status["writable"] == ("--writable" in KINDS[view])
    assert json.loads((own / "status.json").read_text())["process"] == mount.process.pid
    assert ckptfs("status", mount.path).stdout.startswith("mount ")
    copied = mount.path.parent / f"copy-{view}"
    subprocess.run(["cp", "-r", mount.path, copied] if view != "catalogue" else ["mkdir", copied], check=True)
    assert OWN not in os.listdir(copied)
    with pytest.raises(OSError, match="Read-only|Permission"):
        (own / "status").write_text("x")
    assert os.listxattr(mount.path) == []


def test_what_is_read_and_refused_is_counted(source, mounted):
    mount = mounted(source, "--world-size=3", "--io=direct")
    before = status_of(mount)
    nbytes = sum(len(path.read_bytes()) for path in (mount.path / TAG).iterdir())
    with pytest.raises(FileNotFoundError):
        (mount.path / "absent").stat()
    # A request is counted when it has been answered, that is, a moment after its answer has come.
    wait_until(lambda: status_of(mount)["bytes"]["read"] - before["bytes"]["read"] >= nbytes, "all reads are counted")
    wait_until(lambda: status_of(mount)["requests"]["in_progress"] == 1, "the question itself is all that is in progress")
    after = status_of(mount)
    reads = requests_of(after, "read")
    assert after["bytes"]["read"] - before["bytes"]["read"] == nbytes
    assert reads["nbytes"] == after["bytes"]["read"]
    assert sum(bucket["count"] for bucket in reads["latencies"]) == reads["count"] > 0
    assert after["requests"]["by_errno"]["ENOENT"] > before["requests"]["by_errno"].get("ENOENT", 0)
    assert requests_of(after, "lookup")["errors"] > requests_of(before, "lookup")["errors"]
    assert after["memory"]["resident_nbytes"] > 1_000_000
    with (mount.path / "latest").open():
        assert status_of(mount)["kernel"]["open_files"] == 1
    [tag] = after["tags"]
    assert tag["path"] == str(source / TAG) and tag["problem"] is None


@pytest.mark.parametrize("options", [(), ("--read-ahead-memory=0",), ("--writable",)])
def test_closing_counts_as_no_error(source, mounted, options):
    mount = mounted(source, "--world-size=3", "--io=direct", *options)
    for path in (mount.path / TAG).iterdir():
        path.read_bytes()
    after = status_of(mount)
    assert requests_of(after, "flush")["count"] > 0
    assert requests_of(after, "flush")["errors"] == 0 and "ENOSYS" not in after["requests"]["by_errno"]


def test_what_is_written_is_counted(source, mounted):
    mount = mounted(source, "--world-size=2", "--writable", "--io=cached")
    (mount.path / "new").write_bytes(b"x" * 12345)
    wait_until(lambda: status_of(mount)["bytes"]["written"] == 12345, "all is counted")


def test_metrics_can_be_parsed(source, mounted):
    mount = mounted(source, "--world-size=3")
    nbytes = len((mount.path / TAG / SHARD).read_bytes())
    wait_until(lambda: status_of(mount)["bytes"]["read"] >= nbytes, "all is counted")
    text = (mount.path / OWN / "metrics.prom").read_text()
    assert ckptfs("status", "--metrics", mount.path).stdout.splitlines()[0] == text.splitlines()[0]
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    values = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r'(\w+)(\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})? (\S+)', line).groups()
            values[name, labels or ""] = float(value)
            assert types.get(name) or types[re.sub("_(bucket|sum|count)$", "", name)] == "histogram"
    assert values["ckptfs_bytes_total", '{direction="read"}'] >= nbytes
    assert values["ckptfs_tags", ""] == 1
    counted = values["ckptfs_request_duration_seconds_count", '{operation="read"}']
    assert values["ckptfs_request_duration_seconds_bucket", '{operation="read",le="+Inf"}'] == counted > 0


def test_an_entry_of_source_with_the_reserved_name_is_shown(source, tmp_path):
    (source / OWN).write_text("SOURCE's own\n")
    point = tmp_path / "point"
    point.mkdir()
    require_fuse()
    result = ckptfs(source, point, "--world-size=3", f"--log-file={tmp_path}/log")
    try:
        assert f"'{source}/{OWN}' is shown as it is" in result.stderr
        assert (point / OWN).read_text() == "SOURCE's own\n"
        assert OWN in os.listdir(point)
        assert "world-size-3" in ckptfs("status", point).stdout
        assert ckptfs("list").stdout.count(str(point)) == 1
    finally:
        assert ckptfs("umount", point).returncode == 0


def test_files_of_views_name_their_generation_and_their_sources(source, mounted):
    mount = mounted(source, "--world-size=1")
    shard = mount.path / TAG / SHARD
    generation = os.getxattr(shard, "user.ckptfs.generation").decode()
    assert re.fullmatch("[0-9a-f]{16}", generation)
    assert status_of(mount)["tags"][0]["generation"] == generation
    sources = os.getxattr(shard, "user.ckptfs.sources").decode().splitlines()
    assert sources == [str(source / TAG / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt") for rank in range(4)]
    assert os.listxattr(shard) == []
    with pytest.raises(OSError, match="No data available"):
        os.getxattr(mount.path / "latest", "user.ckptfs.generation")
    copied = mount.path.parent / "copy"
    subprocess.run(["cp", "-a", shard, copied], check=True)
    assert os.listxattr(copied) == []
    for path in (source / TAG).glob("*.pt"):
        os.utime(path)
    wait_until(lambda: os.getxattr(mount.path / TAG / SHARD, "user.ckptfs.generation").decode() != generation, "a new generation")


def test_the_attributes_of_a_writable_mount_are_as_well_its_own(source, mounted):
    mount = mounted(source, "--world-size=2", "--writable")
    shard = mount.path / TAG / SHARD
    sources = os.getxattr(shard, "user.ckptfs.sources").decode().splitlines()
    assert all((source / TAG / pathlib.Path(name).name).exists() for name in sources) and len(sources) == 2
    assert os.listxattr(shard) == []
    with pytest.raises(PermissionError):
        os.setxattr(shard, "user.ckptfs.generation", b"x")
    with pytest.raises(FileExistsError):
        (mount.path / OWN).mkdir()
    assert not (source / OWN).exists()


def test_the_level_of_the_log_can_be_changed(source, mounted):
    mount = mounted(source, "--world-size=3")
    os.listdir(mount.path)
    assert " debug " not in mount.log_text()
    result = ckptfs("status", mount.path, "--log-level=debug")
    assert (result.returncode, result.stdout) == (0, f"the log of '{mount.path}' has level debug from now on\n")
    os.listdir(mount.path)
    assert re.search(f" debug readdir of process {os.getpid()}: ", mount.log_text())
    assert status_of(mount)["log"]["level"] == "debug"
    mount.may_log_errors("sets the log to level error")
    assert ckptfs("status", mount.path, "--log-level=error").returncode == 0
    assert re.search(rf" info process \d+ of user {os.getuid()} sets the log to level error", mount.log_text())
    lines = mount.log_text()
    os.listdir(mount.path)
    assert mount.log_text() == lines
    assert ckptfs("status", mount.path.parent, "--log-level=debug").returncode == 6, "no mount"


def test_others_see_numbers_alone(source, tmp_path_factory):
    require_root()
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        shutil.copytree(source, f"{place}/source", symlinks=True)
        mount = Mount(f"{place}/source", f"{place}/point", f"{place}/log", "--world-size=3", "--allow-other")
        try:
            own = mount.path / OWN
            assert "ckptfs_info" in in_child(lambda: (own / "metrics.prom").read_text(), STRANGER)
            assert outcome(lambda: (own / "status").read_text(), STRANGER) == "EACCES"
            assert outcome(lambda: os.getxattr(mount.path, "user.ckptfs.status"), STRANGER) == "EACCES"
            assert in_child(lambda: os.getxattr(mount.path, "user.ckptfs.view"), STRANGER) == b"world-size-3"
            result = in_child(lambda: ckptfs("status", mount.path, "--log-level=debug").returncode, STRANGER)
            assert result == 6
            assert status_of(mount)["log"]["level"] == "info"
        finally:
            mount.close()


def test_list_names_mounts_that_live_and_mounts_that_are_stale(source, mounted):
    alive = mounted(source, "--world-size=3")
    dead = mounted(source, "--world-size=2")
    dead.kill()
    mounts = {mount["mount_point"]: mount for mount in checked("list", ckptfs("list", "--json").stdout)["mounts"]}
    assert mounts[str(alive.path)]["state"] == "alive"
    assert mounts[str(alive.path)]["view"] == "world-size-3"
    assert mounts[str(alive.path)]["source"] == str(source)
    assert mounts[str(alive.path)]["user"] == os.getuid()
    assert (mounts[str(dead.path)]["state"], mounts[str(dead.path)]["view"]) == ("stale", None)
    lines = ckptfs("list").stdout.splitlines()
    assert lines[0].split() == ["MOUNTPOINT", "VIEW", "STATE", "USER", "SOURCE"]
    assert [str(alive.path), "world-size-3", "alive", str(os.getuid()), str(source)] in [line.split() for line in lines]
    result = ckptfs("status", dead.path)
    assert result.returncode == 6 and f"ckptfs umount '{dead.path}'" in result.stderr
    assert ckptfs("umount", dead.path).returncode == 0
    assert not mounts_below(dead.path)


def test_umount_returns_when_the_daemon_has_gone(source, tmp_path):
    require_fuse()
    point = tmp_path / "point"
    point.mkdir()
    for spelling in (point, f"{point}/"):
        assert ckptfs(source, point, "--world-size=3", f"--log-file={tmp_path}/log").returncode == 0
        result = ckptfs("umount", spelling)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        assert not daemons_naming(str(point))
        assert not mounts_below(tmp_path)
    result = ckptfs("umount", point)
    assert result.returncode == 6 and "nothing is mounted on" in result.stderr


def test_umount_of_a_mount_that_is_used(source, mounted):
    mount = mounted(source, "--world-size=3")
    with (mount.path / "latest").open() as file:
        result = ckptfs("umount", mount.path)
        assert result.returncode == 6 and "ckptfs umount --lazy" in result.stderr
        assert mounts_below(mount.path)
        assert ckptfs("umount", "--lazy", mount.path).returncode == 0
        assert not mounts_below(mount.path)
        assert file.read() == TAG, "whoever has it still does"
        assert mount.process.poll() is None
    assert mount.wait() == 0


def test_umount_takes_no_other_mounts(tmp_path):
    result = ckptfs("umount", "/proc")
    assert result.returncode == 6 and "is of type 'proc'" in result.stderr


@contextlib.contextmanager
def open_to_all(device):
    """As udev leaves it on every machine; in containers it may be root's alone."""
    mode = os.stat(device).st_mode & 0o777
    os.chmod(device, 0o666)
    try:
        yield
    finally:
        os.chmod(device, mode)


def test_status_of_what_is_no_mount_of_ckptfs(source, mounted, tmp_path):
    mount = mounted(source, "--world-size=3")
    for words in (["status"], ["status", "--json"], ["status", "--log-level=debug"]):
        for path in (tmp_path, mount.path / TAG):
            result = ckptfs(*words, path)
            assert (result.returncode, result.stderr) == \
                (6, f"ckptfs: nothing is mounted on '{path}'; `ckptfs list` names the mounts that there are\n")
        result = ckptfs(*words, "/proc")
        assert (result.returncode, result.stderr) == \
            (6, "ckptfs: what is mounted on '/proc' is of type 'proc', and not ckptfs's; `ckptfs list` names the mounts that there are\n")
        assert "does not exist; `ckptfs list`" in ckptfs(*words, tmp_path / "nowhere").stderr
        assert ckptfs(*words, mount.path).returncode == 0


def test_a_user_looks_after_his_own_mount(source):
    """By fusermount3, since only root may call umount(2)."""
    require_root()
    nobody = pwd.getpwnam("nobody")  # whom fusermount3 knows by name
    owner = User(nobody.pw_uid, nobody.pw_gid)
    with open_to_all("/dev/fuse"), tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        shutil.copytree(source, f"{place}/source", symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", f"{place}/source"], check=True)
        mount = Mount(f"{place}/source", f"{place}/point", f"{place}/log", "--world-size=3", user=owner.uid)
        try:
            assert in_child(lambda: ckptfs("status", mount.path).returncode, owner) == 0
            assert outcome(lambda: (mount.path / OWN / "status").read_text(), owner).startswith("mount ")
            result = ckptfs("status", mount.path)
            assert result.returncode == 6 and "root only where it was mounted with --allow-other" in result.stderr
            [found] = [one for one in checked("list", ckptfs("list", "--json").stdout)["mounts"] if one["mount_point"] == str(mount.path)]
            assert (found["state"], found["user"]) == ("of another user", owner.uid)
            assert in_child(lambda: ckptfs("umount", mount.path).returncode, STRANGER) == 6
            assert in_child(lambda: ckptfs("umount", mount.path).returncode, owner) == 0
            assert mount.wait() == 0
        finally:
            mount.close()


def test_a_mount_of_a_run_is_asked_like_any_other(source):
    require_fuse()
    script = f'{binary()} status "$1"; {binary()} list'
    result = ckptfs("run", source, "--world-size=3", "--", "sh", "-c", script, "sh", "{}")
    assert result.returncode == 0, result.stderr
    assert "world-size-3, read-only" in result.stdout
    assert re.search(r"/view +world-size-3 +alive ", result.stdout)


def test_signals_to_a_shared_mount_are_lines_of_its_log(source, tmp_path):
    """Whoever sends them is not who it belongs to: it goes on, and opens its log anew."""
    require_fuse()
    log = tmp_path / "log"
    script = (f'daemon=$(cut -d " " -f 1 "$1/{OWN}/daemon"); kill -TERM "$daemon"; until grep -q ignored {log}; do sleep 0.1; done; '
              f'mv {log} {log}.1; kill -HUP "$daemon"; until grep -q SIGHUP {log}; do sleep 0.1; done; cat "$1/latest"')
    result = ckptfs("run", source, "--world-size=3", f"--log-file={log}", "--", "sh", "-c", script, "sh", "{}")
    assert (result.returncode, result.stdout) == (0, TAG), result.stderr
    assert re.search(rf" info SIGTERM from process \d+ of user {os.getuid()} is ignored: ", log.with_suffix(".1").read_text())
    assert re.search(rf" info SIGHUP from process \d+ of user {os.getuid()}: the log file is opened anew", log.read_text())
    assert "unmounted" in log.read_text()


def test_repeated_errors_are_counted_and_not_repeated(source, mounted):
    (source / TAG / SHARD).write_bytes(b"broken")
    mount = mounted(source, "--allow-empty", "--world-size=3")
    mount.may_log_errors(".")
    for _ in range(20):
        with contextlib.suppress(OSError):
            (mount.path / TAG / SHARD).read_bytes()
    lines = [line.split(" ", 1)[1] for line in mount.log_text().splitlines() if " error " in line]
    assert len(lines) == len(set(lines)) > 0


def test_json_lines(source, mounted):
    mount = mounted(source, "--world-size=3")
    unmount(mount.path)
    assert mount.wait() == 0
    log = mount.path.parent / "json.log"
    process = subprocess.Popen([binary(), source, mount.path, "--world-size=3", "-f", f"--log-file={log}", "--log-format=json"])
    wait_until(lambda: log.exists() and "mounted" in log.read_text(), "the mount")
    assert ckptfs("umount", mount.path).returncode == 0
    assert process.wait(60) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["level"] for line in lines] == ["info"] * len(lines)
    assert lines[0]["message"] == f"mounted {source} on {mount.path}"
    assert lines[-1]["message"] == f"unmounted {source} from {mount.path}"
    assert set(lines[0]) == {"time", "level", "message"}


@pytest.mark.parametrize("options", ["world-size=3", "world-size=2,writable"])
def test_mount_all_twice_mounts_once(source, tmp_path, options):
    """mount(8) knows a mount of /etc/fstab by its source and its place in /proc/mounts.

    mount.fuse3 looks for ckptfs where the system has its programs: in a mount namespace of the test's own it is there.
    """
    require_fuse()
    require_root()
    if shutil.which("mount.fuse3") is None:
        pytest.skip("mount.fuse3 is missing")
    point = tmp_path / "point"
    point.mkdir()
    table = tmp_path / "fstab"
    table.write_text(f"{source} {point} fuse.ckptfs {options},log-file={tmp_path}/log,_netdev 0 0\n")
    script = ('set -e; mount -t tmpfs none /usr/local/bin; ln -s "$1" /usr/local/bin/ckptfs; mount -a -T "$2"; mount -a -T "$2"; '
              'cat /proc/self/mounts; echo; "$1" list --json; "$1" umount "$3"')
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", binary(), table, point],
                            capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    table, _, listed = result.stdout.partition("\n\n")
    [line] = [line for line in table.splitlines() if f" {point} " in line]
    assert line.split()[0] == str(source)
    [found] = [one for one in json.loads(listed)["mounts"] if one["mount_point"] == str(point)]
    assert (found["view"], found["state"]) == (options.split(",")[0].replace("=", "-"), "alive")
    assert not daemons_naming(str(tmp_path))


def test_nothing_takes_the_place_of_the_reserved_name(source, mounted):
    mount = mounted(source, "--world-size=3", "--writable")
    (mount.path / "other").mkdir()
    for name in ("other", "global_step2"):
        with pytest.raises(FileExistsError):
            os.rename(mount.path / name, mount.path / ".ckptfs")
        assert (source / name).exists()
    assert not (source / ".ckptfs").exists()
    os.rename(mount.path / "other", mount.path / "global_step2" / ".ckptfs")
    assert (source / "global_step2" / ".ckptfs").is_dir(), "the name is reserved in the root alone"


def test_a_daemon_that_hangs_keeps_nobody(source, mounted):
    mount = mounted(source, "--world-size=3")
    os.kill(mount.process.pid, signal.SIGSTOP)
    try:
        listed = ckptfs("list")
        assert listed.returncode == 0 and "no answer" in listed.stdout
        for command in (["status"], ["umount"]):
            asked = ckptfs(*command, mount.path)
            assert asked.returncode == 6, asked.stderr
        assert mounts_below(mount.path)
    finally:
        os.kill(mount.process.pid, signal.SIGCONT)
    # Those who asked meanwhile are in the mount until they have their answers.
    wait_until(lambda: ckptfs("umount", mount.path).returncode == 0, "nobody is in the mount")
    assert mount.wait() == 0


def test_white_space_in_names(source, tmp_path, mounted):
    point = tmp_path / "a\tb\rc\vd e"
    mount = mounted(source, "--world-size=3", mount_point=point)
    [found] = [each for each in json.loads(ckptfs("list", "--json").stdout)["mounts"] if each["mount_point"] == str(point)]
    assert found["state"] == "alive" and found["view"] == "world-size-3"
    assert ckptfs("umount", point).returncode == 0
    assert mount.wait() == 0

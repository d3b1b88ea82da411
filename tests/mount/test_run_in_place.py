"""`ckptfs run --in-place`: COMMAND alone sees the directory re-cut and writes into it, as root and as an ordinary user."""
import errno
import os
import shutil
import signal

import pytest

from mount_fixtures import DATA, wait_until
from runs import WAIT_FOR_A_FILE, processes_naming, run_as, shell, started
from seccomp import refuse_system_call

TAG = "global_step2"
SAVED_AT_3 = DATA / "stage2_bf16_ws4_at_ws3" / TAG
OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
AT_3 = ("--in-place", "--world-size=3")
AT_2 = ("--in-place", "--world-size=2")


def shards(listing):
    return listing.count("optim_states")


@pytest.fixture(params=["root", "user"])
def run(request):
    yield from run_as(request.param)


among_shared_mounts = pytest.mark.parametrize("run", ["root", "root among shared mounts", "user"], indirect=True)


def listing(run, *more, options=AT_3, **where):
    return run(*shell("ls " + " ".join(more or [f"{{}}/{TAG}"])), options=options, **where)


@among_shared_mounts
def test_the_command_sees_it_recut_and_nobody_else_does(run):
    before = sorted(os.listdir(run.source / TAG))
    process = run.start(*shell(f'echo "$CKPTFS_VIEW {{}} --path={{}}/x"; ls {{}}/{TAG}; touch {run.home}/inside; '
                               f'{WAIT_FOR_A_FILE.format(run.home / "go")}'), options=AT_3)
    started(run.home / "inside")
    assert sorted(os.listdir(run.source / TAG)) == before
    (view,) = run.user.mounts(run.home.parent)
    assert view.startswith(str(run.runtime))
    (run.home / "go").touch()
    out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert out.splitlines()[0] == f"{run.source} {run.source} --path={run.source}/x"
    assert shards(out) == 3
    assert not run.user.mounts(run.home.parent)


def test_what_is_saved_is_source_s_and_the_user_s(run):
    """A save at the view's world size, a removal, a rotation; at once and afterwards."""
    tag = run.source / "global_step3"
    script = f"umask 027; cp -r {SAVED_AT_3} {tag} && cat {tag}/{OPTIMIZER} | cmp - {SAVED_AT_3}/{OPTIMIZER} && " \
             f"echo -n global_step3 > {run.source}/latest && rm -r {run.source}/{TAG} && ls {run.source}"
    result = run(*shell(script), options=AT_3)
    assert (result.returncode, result.stdout, result.stderr) == (0, "global_step3\nlatest\n", ""), result
    assert sorted(os.listdir(run.source)) == ["global_step3", "latest"]
    assert {path.name: path.read_bytes() for path in tag.iterdir()} == \
        {path.name: path.read_bytes() for path in SAVED_AT_3.iterdir()}
    assert {(path.stat().st_uid, path.stat().st_gid) for path in [tag, *tag.iterdir()]} == {(run.user.uid, run.user.gid)}
    assert tag.stat().st_mode & 0o777 == 0o750
    result = run(*shell(f"ls {{}}/global_step3; cat {{}}/latest"), options=AT_2)
    assert shards(result.stdout) == 2
    assert result.stdout.endswith("global_step3")


def test_a_directory_that_is_not_there_is_made(run):
    new = run.home / "a" / "b"
    result = run(*shell(f"ls -A {new}; mkdir {new}/{TAG} && cp {SAVED_AT_3}/* {new}/{TAG} && ls {new}/{TAG}"), options=AT_3,
                 source=new)
    assert result.returncode == 0, result
    assert result.stderr == f"ckptfs: '{new}' was not there and has been made: there is nothing to resume from, the job begins anew\n"
    assert shards(result.stdout) == 3
    mask = os.umask(0o022)
    os.umask(mask)
    for path in (new, new.parent):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (run.user.uid, 0o777 & ~mask)
    resumed = listing(run, source=new, options=AT_2)
    assert (shards(resumed.stdout), resumed.stderr) == (2, "")


def test_a_directory_without_a_checkpoint_is_told(run):
    """A mistyped one looks like that of a first run, so every run says it until there is a checkpoint."""
    new = run.home / "new"
    new.mkdir()
    os.chown(new, run.user.uid, run.user.gid)
    says = f"ckptfs: '{new}' holds no ZeRO checkpoint: a job that is to resume from one there begins anew\n"
    for left in ([], ["notes"]):
        result = run(*shell("ls {}; touch {}/notes"), options=AT_3, source=new)
        assert (result.returncode, result.stdout.split(), result.stderr) == (0, left, says), result
    assert run("cp", "-r", SAVED_AT_3, new / TAG, options=AT_3, source=new).stderr == says
    assert run("true", options=AT_3, source=new).stderr == ""


def test_the_ranks_of_a_node_are_told_once(run):
    new = run.home / "new"
    script = f"touch {run.home}/ready$0; {WAIT_FOR_A_FILE.format(run.home / 'go')}"
    runs = [run.start(*shell(script), number, options=AT_3, source=new) for number in range(4)]
    for number in range(4):
        started(run.home / f"ready{number}")
    (run.home / "go").touch()
    said = "".join(process.communicate(timeout=60)[1] for process in runs)
    assert (said.count("\n"), said.count("begins anew\n")) == (1, 1), said


def test_the_working_directory_may_lie_in_it(run):
    for where, name in ((run.source, TAG), (run.source / TAG, ".")):
        result = run(*shell(f"ls {name}; pwd -P; echo $PWD"), options=AT_3, cwd=where)
        assert (result.returncode, result.stderr) == (0, ""), result
        assert shards(result.stdout) == 3
        assert result.stdout.splitlines()[-2:] == [str(where)] * 2
    result = run(*shell("pwd; ls run/" + TAG), options=AT_3, cwd=run.home)
    assert result.stdout.splitlines()[0] == str(run.home)
    assert shards(result.stdout) == 3
    result = run(*shell(f"touch {TAG}/written; pwd -P"), options=AT_3, cwd=run.source)
    assert (result.returncode, result.stdout) == (0, f"{run.source}\n")
    assert (run.source / TAG / "written").exists()


def test_names_of_the_directory(run):
    (run.home / "link").symlink_to("run")
    for source, cwd, shown in (("run", run.home, run.source), ("run///", run.home, run.source), ("link", run.home, run.home / "link"),
                               ("./run", run.home, f"{run.home}/./run"), (".", run.source, f"{run.source}/."),
                               ("..", run.source / TAG, f"{run.source}/{TAG}/..")):
        result = run(*shell(f"echo {{}}; ls {{}}/{TAG}; ls {run.source}/{TAG} {run.home}/link/{TAG}"), options=AT_3, cwd=cwd,
                     source=source)
        assert (result.returncode, result.stderr) == (0, ""), result
        assert result.stdout.splitlines()[0] == str(shown)
        assert shards(result.stdout) == 9, source


@pytest.mark.parametrize("code", [0, 6, 255])
def test_the_exit_status_is_the_commands(run, code):
    result = run("sh", "-c", f"exit {code}", options=AT_3)
    assert (result.returncode, result.stderr) == (code, "")


def test_a_command_that_cannot_be_run(run):
    script = run.source / "script"
    script.write_text("exit 0\n")
    script.chmod(0o755)
    for command, code in (("no-such-program", 127), (run.home, 126), (script, 126)):
        result = run(command, options=AT_3)
        assert result.returncode == code
        assert result.stderr.startswith(f"ckptfs: '{command}' cannot be run: ")
    script.write_text("#!/bin/sh\nexit 9\n")
    assert run("./script", options=AT_3, cwd=run.source).returncode == 9
    assert run("script", options=AT_3, environment={"PATH": f"{run.source}:{os.environ['PATH']}"}).returncode == 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_the_command(run, number):
    process = run.start(*shell(f"trap 'exit 7' {int(number)}; touch {run.home}/ready; while true; do sleep 0.02; done"), options=AT_3)
    started(run.home / "ready")
    process.send_signal(number)
    assert process.wait(60) == 7


def test_a_signal_that_ends_the_command_is_in_the_exit_status(run):
    process = run.start(*shell(f"touch {run.home}/ready; exec sleep 60"), options=AT_3)
    started(run.home / "ready")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert run("sh", "-c", "kill -KILL $$", options=AT_3).returncode == 128 + signal.SIGKILL


def test_all_runs_share_one_daemon_which_goes_with_the_last(run):
    wait = f"touch {run.source}/ready$0; {WAIT_FOR_A_FILE.format(run.home / 'go$0')}; ls {{}}/{TAG} {{}}"
    runs = [run.start(*shell(wait), number, options=AT_3) for number in range(3)]
    for number in range(3):
        started(run.source / f"ready{number}")
    assert len(run.daemons()) == 1
    assert len(run.views()) == 1
    for number, process in enumerate(runs):
        assert len(run.daemons()) == 1
        (run.home / f"go{number}").touch()
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, shards(out)) == (0, 3)
        assert all(f"ready{other}" in out for other in range(3))  # what the others have written
    wait_until(run.is_clean, "nothing is left")


def test_another_world_size_is_another_mount_of_the_same_directory(run):
    wait = f"touch {run.home}/ready$0; {WAIT_FOR_A_FILE.format(run.home / 'go')}; ls {{}}/{TAG}"
    runs = {size: run.start(*shell(wait), size, options=("--in-place", f"--world-size={size}")) for size in (2, 3)}
    for size in runs:
        started(run.home / f"ready{size}")
    assert len(run.views()) == 2
    assert shards(run(*shell(f"ls {{}}/{TAG}"), options=["--world-size=5"]).stdout) == 5  # and one that is not in place
    (run.home / "go").touch()
    assert {size: shards(process.communicate(timeout=60)[0]) for size, process in runs.items()} == {2: 2, 3: 3}


@among_shared_mounts
def test_a_killed_run_leaves_the_directory_to_the_command(run):
    process = run.start(*shell(f"touch {run.home}/ready; {WAIT_FOR_A_FILE.format(run.home / 'go')}; "
                               f"ls {{}}/{TAG} > {{}}/listing"), options=AT_3)
    started(run.home / "ready")
    process.kill()
    process.wait(60)
    assert len(run.views()) == 1
    (run.home / "go").touch()
    wait_until(run.is_clean, "the mount ends with the command")
    assert shards((run.source / "listing").read_text()) == 3


@among_shared_mounts
def test_a_dead_daemon_is_an_error_in_the_command_and_nothing_outside(run):
    process = run.start(*shell(f"touch {run.home}/ready; {WAIT_FOR_A_FILE.format(run.home / 'go')}; ls {{}} 2>&1; "
                               f"{run.user.program} inspect {{}}"), options=AT_3)
    started(run.home / "ready")
    (daemon,) = run.daemons()
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not run.daemons(), "the daemon is gone")
    assert sorted(os.listdir(run.source)) == [TAG, "latest"]
    assert shards(listing(run).stdout) == 3  # who comes next has a daemon of its own
    (run.home / "go").touch()
    out, error = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "Transport endpoint is not connected" in out
    assert "whose daemon is gone; in the COMMAND of `ckptfs run --in-place` end COMMAND and run it again" in error
    wait_until(run.is_clean, "nothing is left")


@among_shared_mounts
def test_what_the_command_leaves_running_keeps_nothing(run):
    result = run("sh", "-c", "sleep 60 > /dev/null 2>&1 & echo $!", options=AT_3)
    try:
        assert result.returncode == 0
        wait_until(run.is_clean, "nothing is left")
    finally:
        os.kill(int(result.stdout), signal.SIGKILL)


def test_the_directory_itself_stays(run):
    """A mount point cannot be removed, and what is moved over its border is copied, as from one file system to another."""
    result = run(*shell(f"rm -r {{}}/{TAG} && ! rmdir {{}}; touch {{}}/file && mv {{}}/file {run.home}/moved && ls {{}}"), options=AT_3)
    assert (result.returncode, result.stdout) == (0, "latest\n"), result
    assert "Device or resource busy" in result.stderr
    assert os.listdir(run.source) == ["latest"]
    assert (run.home / "moved").exists()


def test_ids_stay_what_they_are(run):
    result = run(*shell("id -u; id -g; stat -c %u:%g {}/latest; stat -c %u /; grep CapEff /proc/self/status"), options=AT_3)
    assert result.returncode == 0, result
    uid, gid, owner, owner_of_root, capabilities = result.stdout.splitlines()
    assert (int(uid), int(gid), owner) == (run.user.uid, run.user.gid, f"{run.user.uid}:{run.user.gid}")
    if run.user.uid == 0:
        assert owner_of_root == "0"
    else:
        assert int(owner_of_root) == 65534  # what root owns is nobody's in a user namespace
        assert int(capabilities.split()[1], 16) == 0


def test_commands_of_a_job_may_look_into_each_other(run):
    """As MPI does to copy from rank to rank, and debuggers: in one user namespace, if in any."""
    process = run.start(*shell(f"echo $$ > {run.home}/pid; {WAIT_FOR_A_FILE.format(run.home / 'go')}"), options=AT_3)
    started(run.home / "pid")
    wait_until(lambda: (run.home / "pid").read_text().strip(), "the first rank")
    first = (run.home / "pid").read_text().strip()
    try:
        look = f"ctypes.CDLL(None).ptrace(0x4206, {first}, 0, 0)"  # PTRACE_SEIZE, which does not stop it
        result = run("python3", "-c", f"import ctypes; print({look})", options=AT_3)
        assert (result.returncode, result.stdout) == (0, "0\n"), result
        namespaces = run(*shell(f"readlink /proc/self/ns/user /proc/{first}/ns/user"), options=AT_3).stdout.split()
        assert namespaces[0] == namespaces[1]
        assert (namespaces[0] == os.readlink("/proc/self/ns/user")) == (run.user.uid == 0)
    finally:
        (run.home / "go").touch()
    assert process.wait(60) == 0


def test_a_path_in_it_is_no_source_within_the_command(run):
    program = run.user.program
    (run.home / "point").mkdir()
    (run.home / "config").write_text("{}")
    for words in (["inspect", run.source], ["inspect", run.source / TAG], ["verify", run.source], [run.source, run.home / "point"],
                  ["check", run.source, "--world-size=2", f"--ds-config={run.home}/config"], ["run", run.source, "--", "true"],
                  ["run", *AT_2, run.source, "--", "true"], [run.source, run.source, "--world-size=2", "--writable"]):
        result = run(program, *words, options=AT_3)
        assert result.returncode == 2, (words, result)
        assert f"lies in a mount of ckptfs over '{run.source}' itself" in result.stderr
        assert "outside of the COMMAND of `ckptfs run --in-place`" in result.stderr
    assert run.program(program, "inspect", run.source).returncode == 0
    other = run.home / "other"
    shutil.copytree(run.source, other)
    assert run(program, "inspect", other, options=AT_3).returncode == 0


def test_what_cannot_be_done_is_said_and_nothing_is_made(run):
    for options, source, says in (
            (["--in-place"], run.source, "--in-place takes a world size"),
            (["--in-place", "--view=weights"], run.source, "--in-place takes a world size"),
            (AT_3, "/", "every program needs"),
            (AT_3, "/usr/../proc", "every program needs"),
            (AT_3, run.runtime, "set TMPDIR to a directory outside it")):
        result = run("echo", "started", options=options, source=source)
        assert (result.returncode, result.stdout) == (2, ""), result
        assert says in result.stderr
        assert len(result.stderr.splitlines()) == 1
    (run.home / "file").touch()
    result = run("echo", "started", options=AT_3, source=run.home / "file")
    assert (result.returncode, result.stdout) == (3, "")
    assert "is a file" in result.stderr
    result = run("echo", "started", options=AT_3, source=run.home / "file" / "below")
    assert (result.returncode, result.stdout) == (7, "")
    assert "cannot be made" in result.stderr
    wait_until(run.is_clean, "nothing is left")


def test_the_world_size_of_the_job(run):
    result = run(*shell(f"ls {{}}/{TAG}"), options=["--in-place", "--world-size=auto"], environment={"WORLD_SIZE": "5"})
    assert shards(result.stdout) == 5
    assert result.stderr == "ckptfs: world size 5, from WORLD_SIZE\n"


def test_in_a_user_namespace_of_root_s(run):
    """As in containers without root: id 0 there is the user outside."""
    script = f"id -u; touch {{}}/written; ls {{}}/{TAG}"
    result = run.program("unshare", "-Urm", run.user.program, "run", run.source, *AT_3, "--", *shell(script.replace("{}", str(run.source))))
    assert result.returncode == 0, result
    assert result.stdout.splitlines()[0] == "0"
    assert shards(result.stdout) == 3
    assert (run.source / "written").stat().st_uid == run.user.uid
    wait_until(run.is_clean, "nothing is left")


UNSHARE = {"x86_64": 272, "aarch64": 97}[os.uname().machine]


def without_unshare():
    """In a child before exec: unshare() fails from here on, as under a container's filter."""
    refuse_system_call(UNSHARE, errno.EPERM)


@pytest.mark.parametrize("run", ["user"], indirect=True)  # root needs no user namespace
def test_a_system_without_namespaces_for_users(run):
    result = run("echo", "started", options=AT_3, preexec_fn=without_unshare)
    assert (result.returncode, result.stdout) == (6, ""), result
    assert result.stderr.startswith(f"ckptfs: '{run.source}' cannot be shown in place to COMMAND alone: no user namespace: "
                                    "Operation not permitted; ")
    assert result.stderr.endswith("; or run ckptfs as root\n")
    wait_until(run.is_clean, "nothing is left")
    assert listing(run).returncode == 0

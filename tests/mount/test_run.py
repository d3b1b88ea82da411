"""`ckptfs run`: a command with a view that lives as long as it does, shared with others, and nothing left behind."""
import concurrent.futures
import contextlib
import errno
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from mount_fixtures import binary, daemons_naming, mounts_below, unmount, wait_until
from runs import WAIT_FOR_A_FILE, Runs, shell, started

TAG = "global_step2"
OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
@pytest.fixture
def run(source, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    runs = Runs(source, runtime)
    yield runs
    runs.end()
    wait_until(runs.is_clean, f"nothing is left: {[*runtime.rglob('*')]}, {daemons_naming(str(source))}")


def test_the_command_sees_the_view_and_nothing_is_left(run):
    result = run(*shell('echo "$CKPTFS_VIEW {} --path={}/x"; ls {}/' + TAG + '; head -c 4 {}/latest'), options=["--world-size=3"])
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    view = lines[0].split()[0]
    assert lines[0] == f"{view} {view} --path={view}/x"
    assert sum("optim_states" in line for line in lines) == 3
    assert lines[-1] == TAG[:4]
    assert not run.views()
    assert not list(run.runtime.iterdir())


def test_without_a_world_size_there_is_a_directory_for_each(run):
    result = run("ls", f"{{}}/world-size-2/{TAG}", f"{{}}/world-size-5/{TAG}")
    assert result.returncode == 0, result
    assert result.stdout.count("optim_states") == 2 + 5


@pytest.mark.parametrize("code", [0, 1, 6, 70, 255])
def test_the_exit_status_is_the_commands(run, code):
    result = run("sh", "-c", f"exit {code}")
    assert (result.returncode, result.stderr) == (code, "")


def test_a_command_that_cannot_be_run(run, tmp_path):
    for command, code in (("no-such-program", 127), (tmp_path, 126)):
        result = run(command)
        assert result.returncode == code
        assert result.stderr.startswith(f"ckptfs: '{command}' cannot be run: ")
        assert not list(run.runtime.iterdir())


def test_a_source_that_cannot_be_mounted(run, source):
    (source / TAG / OPTIMIZER).unlink()
    result = run("echo", "started", options=["--world-size=2"])
    assert (result.returncode, result.stdout) == (4, "")
    assert "rank 1 is missing" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(run.runtime.iterdir())


def test_standard_streams_pass(run):
    result = run("sh", "-c", "tr a-z A-Z; echo problem >&2", input="some input\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, "SOME INPUT\n", "problem\n")


def test_arguments_pass_unharmed(run):
    result = run(sys.executable, "-c", "import sys; print(sys.argv[1:])", "a b", "", "--", "-o", "$HOME", "x{y}")
    assert result.stdout == "['a b', '', '--', '-o', '$HOME', 'x{y}']\n"


def test_braces_of_the_commands_own_are_written_twice(run):
    result = run("find", f"{{}}/{TAG}", "-name", OPTIMIZER, "-exec", "echo", "found", "{{}}", ";", options=["--world-size=2"])
    assert (result.returncode, result.stderr) == (0, "")
    [line] = result.stdout.splitlines()
    assert line.startswith("found /") and line.endswith(f"/{TAG}/{OPTIMIZER}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
                                    signal.SIGUSR2])
def test_signals_reach_the_command(run, tmp_path, number):
    handler = ("import signal, sys, time, pathlib\n"
               f"signal.signal({int(number)}, lambda *_: sys.exit(7))\n"
               f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
               "time.sleep(60)\n")
    process = run.start(sys.executable, "-c", handler)
    started(tmp_path / "ready")
    process.send_signal(number)
    assert process.wait(60) == 7
    assert not list(run.runtime.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_ends_the_command_is_in_the_exit_status(run, tmp_path, number):
    process = run.start("sh", "-c", f"touch {tmp_path}/ready; exec sleep 60")
    started(tmp_path / "ready")
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert not list(run.runtime.iterdir())


def test_a_killed_command(run):
    result = run("sh", "-c", "kill -KILL $$")
    assert (result.returncode, result.stderr) == (128 + signal.SIGKILL, "")
    assert not list(run.runtime.iterdir())


def test_the_terminals_interrupt_comes_once(run, tmp_path):
    """Whoever sits at the terminal interrupts the whole foreground group: the command has it already."""
    script = ("import os, signal, sys, time\n"
              "count = 0\n"
              "def count_one(*_):\n"
              "    global count\n"
              "    count += 1\n"
              "signal.signal(signal.SIGINT, count_one)\n"
              "print('ready', flush=True)\n"
              "while not count:\n"
              "    time.sleep(0.05)\n"
              "time.sleep(0.5)\n"  # in which a second one would come
              "print('interrupts:', count, flush=True)\n")
    leader, follower = os.openpty()
    take_terminal = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", take_terminal, binary(), "run", str(run.source), "--", sys.executable,
                                "-c", script], env=run.environment, start_new_session=True, stdin=follower,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run.started.append(process)
    os.close(follower)
    assert process.stdout.readline() == "ready\n"
    os.write(leader, b"\x03")
    assert process.stdout.readline() == "interrupts: 1\n"
    assert process.wait(60) == 0
    os.close(leader)


def test_a_killed_run_leaves_the_view_to_the_command(run, tmp_path):
    process = run.start(*shell(f"echo $$; touch {tmp_path}/ready; {WAIT_FOR_A_FILE.format(tmp_path / 'go')}; "
                               f"cat {{}}/world-size-2/latest > {tmp_path}/latest"))
    started(tmp_path / "ready")
    process.kill()
    process.wait(60)
    time.sleep(0.3)
    assert len(run.views()) == 1
    (tmp_path / "go").touch()
    wait_until(run.is_clean, "the view ends with the command")
    assert (tmp_path / "latest").read_text() == TAG


def test_a_run_and_its_command_killed_together(run, tmp_path):
    process = run.start(*shell(f"touch {tmp_path}/ready; exec sleep 60"), start_new_session=True)
    started(tmp_path / "ready")
    assert run.views()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    wait_until(run.is_clean, "the view ends with its last user")


def test_what_the_command_leaves_running_does_not_keep_the_view(run):
    result = run("sh", "-c", "sleep 60 > /dev/null 2>&1 & echo $!")
    try:
        assert result.returncode == 0
        assert not list(run.runtime.iterdir())
    finally:
        os.kill(int(result.stdout), signal.SIGKILL)


def test_a_signal_while_the_mount_starts(run):
    """At every moment of the start the signal ends the run, or the command, and nothing is left."""
    for delay_ms in range(0, 40, 2):
        process = run.start("sleep", "60")
        time.sleep(delay_ms / 1000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (-signal.SIGTERM, 128 + signal.SIGTERM)
        assert not mounts_below(run.runtime)
    wait_until(run.is_clean, "nothing is left")


def test_a_run_killed_while_the_mount_starts(run):
    for delay_ms in range(0, 40, 2):
        process = run.start(*shell("exec sleep 60"), start_new_session=True)
        time.sleep(delay_ms / 1000)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
    result = run("cat", "{}/world-size-2/latest")
    assert (result.returncode, result.stdout) == (0, TAG), result
    wait_until(run.is_clean, "nothing is left")


def test_eight_at_once_share_one_mount(run, tmp_path):
    command = shell(f"echo {{}}; touch {tmp_path}/ready$0; {WAIT_FOR_A_FILE.format(tmp_path / 'go')}; ls {{}}/{TAG}")
    processes = [run.start(*command, number, options=["--world-size=3"]) for number in range(8)]
    for number in range(8):
        started(tmp_path / f"ready{number}")
    assert len(run.views()) == 1
    # The runs, and one daemon.
    assert len(daemons_naming(str(run.source))) == 8 + 1
    for process in processes[:4]:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert len(run.views()) == 1
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=60)[0] for process in processes[4:]]
    assert [process.returncode for process in processes[4:]] == [0] * 4
    assert len({output.splitlines()[0] for output in outputs}) == 1
    assert all(output.count("optim_states") == 3 for output in outputs)
    assert not list(run.runtime.iterdir())


def test_some_end_while_others_start(run):
    def one(number):
        return run("sh", "-c", f"sleep 0.0{number % 4}; cat {{}}/latest", options=["--world-size=2"])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(80)))
    assert {(result.returncode, result.stdout, result.stderr) for result in results} == {(0, TAG, "")}
    assert not list(run.runtime.iterdir())


def test_other_options_and_sources_are_other_mounts(run, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text('{"round_robin_gradients": false}')
    wait = shell(f"echo {{}}; {WAIT_FOR_A_FILE.format(tmp_path / 'go')}")
    options = [["--world-size=2"], ["--world-size=3"], [], ["--dp-size=2"], ["--world-size=2", "--io=direct"],
               ["--world-size=2", f"--ds-config={tmp_path}/a.json"], ["--world-size=2", f"--ds-config={tmp_path}/b.json"]]
    processes = [run.start(*wait, options=words) for words in options]
    same = run.start(*wait, options=["-o", "world_size=2"])
    views = [process.stdout.readline() for process in processes]
    assert len(set(views)) == len(options)
    assert same.stdout.readline() == views[0]
    (tmp_path / "go").touch()
    assert [process.wait(60) for process in [*processes, same]] == [0] * (len(options) + 1)


def test_another_name_of_the_source_is_the_same_mount(run, tmp_path):
    (tmp_path / "link").symlink_to(run.source)
    wait = shell(f"echo {{}}; {WAIT_FOR_A_FILE.format(tmp_path / 'go')}")
    first = run.start(*wait)
    view = first.stdout.readline()
    run.source = pathlib.Path(os.path.relpath(tmp_path / "link"))
    second = run.start(*wait)
    run.source = tmp_path / "source"
    assert second.stdout.readline() == view
    (tmp_path / "go").touch()
    assert (first.wait(30), second.wait(30)) == (0, 0)


def serving_daemon(run):
    (daemon,) = [process for process in daemons_naming(str(run.source))
                 if process not in [started.pid for started in run.started]]
    return daemon


def kill_daemon(run):
    """Returns when it is gone: as long as it dies, its lock says that it serves."""
    (view,) = run.views()
    os.kill(serving_daemon(run), signal.SIGKILL)

    def is_gone():
        try:
            os.statvfs(view)
        except OSError as failure:
            return failure.errno == errno.ENOTCONN
        return False

    wait_until(is_gone, "the daemon ends")


def test_a_crashed_daemon_is_replaced(run, tmp_path):
    first = run.start(*shell(f"touch {tmp_path}/ready; {WAIT_FOR_A_FILE.format(tmp_path / 'go')}; cat {{}}/latest"),
                      options=["--world-size=2"])
    started(tmp_path / "ready")
    kill_daemon(run)
    second = run("cat", "{}/latest", options=["--world-size=2"])
    assert (second.returncode, second.stdout) == (0, TAG), second
    (tmp_path / "go").touch()
    out, _ = first.communicate(timeout=60)
    assert (first.returncode, out) == (0, TAG)  # at the same path
    assert not list(run.runtime.iterdir())


def test_a_crashed_daemons_mount_is_cleared_by_the_last_user(run, tmp_path):
    process = run.start(*shell(f"touch {tmp_path}/ready; {WAIT_FOR_A_FILE.format(tmp_path / 'go')}; cat {{}}/latest"))
    started(tmp_path / "ready")
    kill_daemon(run)
    (tmp_path / "go").touch()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "not connected" in error
    assert not list(run.runtime.iterdir())
    assert not run.views()


def test_a_view_that_somebody_unmounts_is_mounted_for_the_next(run, tmp_path):
    process = run.start(*shell(f"touch {tmp_path}/ready; {WAIT_FOR_A_FILE.format(tmp_path / 'go')}"))
    started(tmp_path / "ready")
    unmount(run.views()[0])
    result = run("cat", "{}/world-size-2/latest")
    assert (result.returncode, result.stdout) == (0, TAG), result
    (tmp_path / "go").touch()
    assert process.wait(60) == 0
    wait_until(run.is_clean, "nothing is left")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_to_every_process_of_a_job_leave_the_view(run, tmp_path, number):
    """Schedulers ask for a checkpoint, or announce the end, by signalling all processes of a job."""
    process = run.start(*shell(f"trap '' {int(number)}; touch {tmp_path}/ready; "
                               f"{WAIT_FOR_A_FILE.format(tmp_path / 'go')}; cat {{}}/world-size-2/latest"))
    started(tmp_path / "ready")
    os.kill(serving_daemon(run), number)
    process.send_signal(number)
    time.sleep(0.2)
    (tmp_path / "go").touch()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, TAG)
    assert not list(run.runtime.iterdir())


def test_a_runtime_directory_that_is_not_there_is_passed_over(run, tmp_path):
    (tmp_path / "temporary").mkdir()
    result = run("printenv", "CKPTFS_VIEW", environment={"XDG_RUNTIME_DIR": "/run/nowhere", "TMPDIR": f"{tmp_path}/temporary"})
    assert result.stdout.startswith(f"{tmp_path}/temporary/ckptfs-{os.geteuid()}/")
    assert not list((tmp_path / "temporary").iterdir())


def test_a_directory_that_others_can_enter_is_refused(run):
    trap = run.runtime / f"ckptfs-{os.geteuid()}"
    trap.mkdir()
    trap.chmod(0o777)
    result = run("true")
    assert result.returncode == 6
    assert "yours alone" in result.stderr
    trap.rmdir()


def test_world_size_of_the_job(run):
    listing = ("ls", f"{{}}/{TAG}")
    auto = ["--world-size=auto"]
    for environment, count, origin in (
            ({"WORLD_SIZE": "5", "SLURM_NTASKS": "3"}, 5, "WORLD_SIZE"),
            ({"SLURM_NTASKS": "3", "CUDA_VISIBLE_DEVICES": "0"}, 3, "SLURM_NTASKS"),
            ({"SLURM_NTASKS": "4", "SLURM_NNODES": "2"}, 4, "SLURM_NTASKS"),
            ({"CUDA_VISIBLE_DEVICES": "1,0"}, 2, "2 visible GPUs (CUDA_VISIBLE_DEVICES)")):
        result = run(*listing, options=auto, environment=environment)
        assert result.returncode == 0, result
        assert result.stdout.count("optim_states") == count
        assert result.stderr == f"ckptfs: world size {count}, from {origin}\n"
    result = run(*listing, options=auto, environment={"SLURM_NTASKS": "2", "SLURM_NNODES": "2"})
    assert result.stdout.count("optim_states") == 2
    assert "ckptfs: warning: SLURM_NTASKS is 2, as many as there are nodes" in result.stderr
    for environment, says in (({"WORLD_SIZE": "many"}, "takes WORLD_SIZE: "), ({"CUDA_VISIBLE_DEVICES": ""}, "no GPU")):
        result = run(*listing, options=auto, environment=environment)
        assert result.returncode == 2
        assert says in result.stderr

"""`ckptfs DIR DIR --writable`: a mount over its own source, as root and as an ordinary user."""
import os
import shutil
import signal
import subprocess

import pytest

from mount_fixtures import DATA, wait_until
from runs import processes_naming, run_as, shell

TAG = "global_step2"
SAVED_AT_3 = DATA / "stage2_bf16_ws4_at_ws3" / TAG
AT_3 = ("--writable", "--world-size=3")


class InPlace:
    """Mounts over `source`; `do` runs a shell's words where the mount is seen."""

    def __init__(self, run):
        self.run = run
        self.source = run.source

    def mount(self, *options, source=None, point=None):
        return self.run.program(self.run.user.program, source or self.source, point or self.source, *options,
                                f"--log-file={self.run.home}/log")

    def unmount(self, point=None):
        done = self.do(f"fusermount3 -u {point or self.source}")
        assert done.returncode == 0, done
        wait_until(lambda: not self.run.daemons(), "the daemon's end")

    def do(self, script):
        return self.run.program(*shell(script))

    def shards(self, directory):
        done = self.do(f"ls {directory}")
        assert done.returncode == 0, done
        return done.stdout.count("optim_states")


@pytest.fixture(params=["root", "user"])
def place(request):
    for run in run_as(request.param):
        yield InPlace(run)
        for point in run.user.mounts(run.home):
            run.program("fusermount3", "-u", "-z", point)


def test_the_directory_is_recut_and_written_in_its_own_place(place):
    done = place.mount(*AT_3)
    assert (done.returncode, done.stderr) == (0, "")
    assert place.shards(place.source / TAG) == 3
    done = place.do(f"cp -r {SAVED_AT_3} {place.source}/global_step3 && echo -n global_step3 > {place.source}/latest && "
                    f"rm -r {place.source}/{TAG} && ls {place.source}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "global_step3\nlatest\n", "")
    assert place.run.user.mounts(place.run.home) == [str(place.source)]
    place.unmount()
    assert sorted(os.listdir(place.source)) == ["global_step3", "latest"]
    assert {path.name: path.read_bytes() for path in (place.source / "global_step3").iterdir()} == \
        {path.name: path.read_bytes() for path in SAVED_AT_3.iterdir()}
    assert (place.source / "latest").read_text() == "global_step3"


def test_through_a_link(place):
    """`ln -s CHECKPOINT ckpt`, which fusermount3 does not follow; alive, and when the daemon was killed."""
    link = place.run.home / "link"
    link.symlink_to(place.source)
    for is_killed in (False, True):
        assert place.mount(*AT_3, source=link, point=link).returncode == 0
        assert place.shards(link / TAG) == 3
        if is_killed:
            (daemon,) = processes_naming(str(link))
            os.kill(daemon, signal.SIGKILL)
            wait_until(lambda: not processes_naming(str(link)), "the daemon is gone")
        done = place.do(f"{place.run.user.program} umount {link}")
        assert (done.returncode, done.stderr) == (0, ""), done
        assert place.shards(link / TAG) == 4
    assert place.mount(*AT_3, source=link, point=link).returncode == 0
    (daemon,) = processes_naming(str(link))
    os.kill(daemon, signal.SIGTERM)
    wait_until(lambda: not place.run.user.mounts(place.run.home), "the end of the mount")
    assert place.shards(link / TAG) == 4


def test_an_empty_directory_may_be_mounted_over(place):
    new = place.run.home / "new"
    assert place.do(f"mkdir {new}").returncode == 0
    assert place.mount(*AT_3, source=new, point=new).returncode == 0
    assert place.do(f"touch {new}/file").returncode == 0
    place.unmount(new)
    assert os.listdir(new) == ["file"]


def test_without_writable_it_is_refused(place):
    done = place.mount("--world-size=3")
    assert done.returncode == 2
    assert f"cannot mount on '{place.source}': it is the source" in done.stderr
    done = place.mount("--writable")
    assert done.returncode == 2
    assert "--writable takes a world size" in done.stderr


def test_inside_or_around_it_is_refused(place):
    for point, says in ((place.source / TAG, "it lies inside the source"), (place.run.home, "it contains the source")):
        done = place.mount(*AT_3, point=point)
        assert done.returncode == 2
        assert says in done.stderr


def test_another_name_of_the_directory_is_the_directory(place):
    link = place.run.home / "link"
    link.symlink_to("run")
    assert place.mount(*AT_3, source=link).returncode == 0
    assert place.shards(link / TAG) == 3
    done = place.do(f"{place.run.user.program} inspect {link}")
    assert done.returncode == 2
    assert f"'{link}' lies in a mount of ckptfs over '{place.source}' itself" in done.stderr
    place.unmount()


def test_log_and_config_may_lie_in_it(place):
    config, log = place.source / "config.json", place.source / "log"
    assert place.do(f"echo '{{}}' > {config}").returncode == 0
    done = place.run.program(place.run.user.program, place.source, place.source, *AT_3, f"--ds-config={config}",
                             f"--log-file={log}")
    assert (done.returncode, done.stderr) == (0, "")
    assert place.shards(place.source / TAG) == 3
    (daemon,) = place.run.daemons()
    os.kill(daemon, signal.SIGUSR1)  # of which the log tells
    wait_until(lambda: "SIGUSR1" in log.read_text() if place.run.user.uid else "SIGUSR1" in place.do(f"cat {log}").stdout,
               "a line in the log")
    place.unmount()
    assert " mounted " in log.read_text()
    assert "SIGUSR1" in log.read_text()


def test_a_path_in_it_is_no_source(place):
    program, home = place.run.user.program, place.run.home
    assert place.mount(*AT_3).returncode == 0
    assert place.do(f"mkdir {home}/point; echo '{{}}' > {home}/config").returncode == 0
    for words in (f"inspect {place.source}", f"inspect {place.source}/{TAG}", f"verify {place.source}",
                  f"check {place.source} --world-size=2 --ds-config={home}/config", f"{place.source} {home}/point",
                  f"{place.source} {place.source} --writable --world-size=2", f"run {place.source} -- true",
                  f"run --in-place {place.source} --world-size=2 -- true"):
        done = place.do(f"{program} {words}")
        assert done.returncode == 2, (words, done)
        assert f"lies in a mount of ckptfs over '{place.source}' itself" in done.stderr
        assert f"after ckptfs umount '{place.source}'" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    place.unmount()
    assert place.do(f"{program} inspect {place.source}").returncode == 0


def test_a_dead_daemon_leaves_an_error_and_an_advice(place):
    assert place.mount(*AT_3).returncode == 0
    (daemon,) = place.run.daemons()
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not place.run.daemons(), "the daemon is gone")
    assert "Transport endpoint is not connected" in place.do(f"ls {place.source}").stderr
    for words in (f"inspect {place.source}", f"{place.source} {place.source} --writable --world-size=2",
                  f"run --in-place {place.source}/ --world-size=2 -- true"):
        done = place.do(f"{place.run.user.program} {words}")
        assert done.returncode == 6, (words, done)
        assert "whose daemon is gone" in done.stderr
        assert done.stderr.endswith(f"clear it with: ckptfs umount '{place.source}'\n")
    assert place.do(f"{place.run.user.program} umount {place.source}").returncode == 0
    assert place.mount(*AT_3).returncode == 0
    assert place.shards(place.source / TAG) == 3
    place.unmount()


def test_a_replaced_directory_is_not_followed(place):
    """It is held for good: what takes its name elsewhere is another directory."""
    parent = place.run.home
    assert place.mount(*AT_3).returncode == 0
    done = place.do(f"cd {place.source} && mv {TAG} moved && cd .. && ls -d {place.source.name}/moved")
    assert done.returncode == 0, done
    place.unmount()
    assert sorted(os.listdir(place.source)) == ["latest", "moved"]
    assert sorted(path.name for path in parent.iterdir()) == ["log", "run"]


@pytest.mark.parametrize("place", ["user"], indirect=True)
def test_other_users_take_a_daemon_of_root_s(place):
    done = place.mount(*AT_3, "--allow-other")
    assert done.returncode == 2
    assert "allow_other is for root where the mount is writable" in done.stderr
    assert place.run.user.mounts(place.run.home) == []


@pytest.mark.parametrize("place", ["root"], indirect=True)
def test_other_users_are_let_in_by_root(place):
    shutil.copytree(SAVED_AT_3, place.source / "other")
    for path in [place.source, *place.source.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    place.source.chmod(0o777)
    assert place.mount(*AT_3, "--allow-other").returncode == 0
    script = f"cat {place.source}/other/* > /dev/null && mkdir {place.source}/mine && ! touch {place.source}/other/x"
    done = subprocess.run(shell(script), user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
    assert done.returncode == 0, done
    place.unmount()
    assert (place.source / "mine").stat().st_uid == 65534

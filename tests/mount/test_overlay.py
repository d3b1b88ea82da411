"""mount_scripts/overlay.sh: SOURCE stays untouched under a writable mount, as root and as an ordinary user."""
import hashlib
import os
import pathlib
import re
import shutil

import pytest

from mount_fixtures import DATA, wait_until
from runs import run_as, shell

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "mount_scripts" / "overlay.sh"
TAG = "global_step2"
SAVED_AT_3 = DATA / "stage2_bf16_ws4_at_ws3" / TAG
# A save at 3 ranks, a rotation, and what is read meanwhile: the old tag re-cut, the new one as it was saved.
SAVE_AND_ROTATE = f"""set -e
    ls {{0}}/{TAG}
    touch {{0}}/{TAG}/note && rm {{0}}/{TAG}/note
    cp -r {SAVED_AT_3} {{0}}/global_step3
    echo -n global_step3 > {{0}}/latest
    rm -r {{0}}/{TAG}
    for file in {SAVED_AT_3}/*; do cmp $file {{0}}/global_step3/${{{{file##*/}}}}; done
    ls {{0}}"""
SAID = ["optim_states"] * 3 + ["global_step3", "latest"]


def everything(directory):
    """A hash of what a tree holds, with all that stat() tells but the times of access."""
    digest = hashlib.sha256()
    for path in [directory, *sorted(directory.rglob("*"))]:
        found = path.lstat()
        digest.update(repr((str(path.relative_to(directory)), found.st_ino, found.st_mode, found.st_uid, found.st_gid,
                            found.st_nlink, found.st_size, found.st_mtime_ns, found.st_ctime_ns)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def summary(listing):
    """The lines of a listing; of an optimizer file only what it is, and no model states."""
    return ["optim_states" if "optim_states" in line else line for line in listing.splitlines()
            if not line.startswith("mp_rank")]


class Overlay:
    def __init__(self, run):
        self.run = run
        self.source = run.source
        self.upper = run.home / "upper"
        self.before = everything(self.source)
        # A user's own overlay lives in namespaces of that user, in which the user looks like root.
        self.namespaces = [] if run.user.uid == 0 else ["unshare", "-Urm"]

    def script(self, *words, namespaces=()):
        return self.run.program(*namespaces, SCRIPT, *words, environment={"CKPTFS": self.run.user.program})


@pytest.fixture(params=["root", "user"])
def overlay(request):
    for run in run_as(request.param):
        made = Overlay(run)
        yield made
        while str(run.source) in pathlib.Path(run.user.mounts_file).read_text():  # what a failed test has left
            run.program("umount", "-l", run.source)
        assert everything(run.source) == made.before


def resumed(overlay, size):
    """What a run at another world size sees of what was saved."""
    done = overlay.script(overlay.source, overlay.upper, overlay.source, f"--world-size={size}", "--",
                          *shell("ls {}/global_step3 && cat {}/latest"))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.count("optim_states") == size
    assert done.stdout.endswith("global_step3")


@pytest.mark.parametrize("where", ["source", "point"])
def test_for_a_command(overlay, where):
    """In the place of SOURCE, or beside it; at once, and in a later run at another world size."""
    point = overlay.source
    if where == "point":
        point = overlay.run.home / "point"
        point.mkdir()
        os.chown(point, overlay.run.user.uid, overlay.run.user.gid)
    done = overlay.script(overlay.source, overlay.upper, point, "--world-size=3", "--",
                          *shell(f'{SAVE_AND_ROTATE.format(point)}; [ "$(id -u) {{}}" = "{overlay.run.user.uid} {point}" ]'))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert summary(done.stdout) == SAID
    assert everything(overlay.source) == overlay.before
    resumed(overlay, 2)
    assert sorted(os.listdir(overlay.upper)) == ["upper", "work"]
    assert (overlay.upper / "upper" / "latest").read_text() == "global_step3"
    assert overlay.script(overlay.source, overlay.upper, point, "--world-size=3", "--", "sh", "-c", "exit 9").returncode == 9


def test_until_it_is_unmounted(overlay):
    arguments = f"{overlay.source} {overlay.upper} {overlay.source} --world-size=3 --log-file={overlay.run.home}/log"
    done = overlay.run.program(*overlay.namespaces, *shell(
        f"{SCRIPT} {arguments} || exit; {SAVE_AND_ROTATE.format(overlay.source)}; {SCRIPT} --unmount {overlay.source}; "
        f"ls {overlay.source}"), environment={"CKPTFS": overlay.run.user.program})
    assert (done.returncode, done.stderr) == (0, ""), done
    assert summary(done.stdout) == [*SAID, TAG, "latest"]
    wait_until(lambda: not overlay.run.daemons(), "the daemon's end")
    resumed(overlay, 4)


def test_what_cannot_be_done_is_said_and_nothing_is_left(overlay):
    source, upper = overlay.source, overlay.upper
    for words, says in (((source, upper, source), "usage: "), ((source, source / "upper", source, "--world-size=3"), "lies in"),
                        ((source / "nowhere", upper, source, "--world-size=3"), "is not a directory"),
                        (("--unmount", source), "no overlay is mounted on")):
        done = overlay.script(*words, namespaces=overlay.namespaces)
        assert done.returncode == 1, done
        assert re.match(f"overlay: .*{says}", done.stderr), done
    done = overlay.script(source, upper, source, "--world-size=none", namespaces=overlay.namespaces)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert not [line for line in pathlib.Path(overlay.run.user.mounts_file).read_text().splitlines() if str(source) in line]
    shutil.rmtree(upper)

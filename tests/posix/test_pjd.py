"""The questions of pjdfstest, by its names, asked of SOURCE and of a writable mount of it: the answers are the same.

By root, who acts as several users (--allow-other), and by a user whose own daemon it is, who leaves out what only root can ask. Left out are
chflags, granular, open/18 and utimensat/03, which are FreeBSD's.
"""
import os

import case
import cases_attributes  # noqa: F401  registers its cases
import cases_content  # noqa: F401
import cases_made  # noqa: F401
import cases_refused  # noqa: F401
import cases_rename  # noqa: F401
import places
import pytest
from users import let_users_mount, require_root, User

LONG = "SOURCE is reached by one path from its root, at most PATH_MAX bytes long; natively a working directory makes any depth reachable"
NOBODY_OWNS = "the kernel's request for a chown to nobody, (-1, -1), is the one that it makes before a write that clears set-user-ID bits: no change"
# What answers otherwise than SOURCE, and why: (case, part of it). It is an error to list what answers alike.
DIFFERENT = {
    **{(name, "the longest path"): LONG for name in sorted(case.CASES) if name in cases_refused.LONG_PATHS},
    ("chown/00", "to nobody"): NOBODY_OWNS,
    ("chown/08", "to nobody"): NOBODY_OWNS,
    ("chown/09", "to nobody"): NOBODY_OWNS,
    ("symlink/00", "out of SOURCE"): "unless it is mounted in place, a mount shows what a link leads to outside SOURCE, which it cannot change",
    ("open/20", "O_RDONLY | O_TRUNC"): "the kernel sends the open, O_TRUNC included, before it looks whether the file is being executed",
}

IS_ROOT = os.geteuid() == 0
NOBODY = User(65534, 65534)  # fusermount3 asks for an account


@pytest.fixture(scope="module")
def mounts(tmp_path_factory):
    """mounts(who) -> a mount for root and everybody, or for a user alone; each is made by the first who asks."""
    let_users_mount(tmp_path_factory.mktemp("device"))
    made = {}
    stack = places.contextlib.ExitStack()

    def get(who):
        if who not in made:
            user = NOBODY.uid if who == "user" and IS_ROOT else None
            scratch = stack.enter_context(places.directory(user))
            options = ["--allow-other"] if who == "root" else []
            made[who] = stack.enter_context(places.mounted(scratch, *options, user=user))
        return made[who]

    with stack:
        yield get


def questions():
    return [(who, name) for who in ("root", "user") for name, (_, needs_root) in sorted(case.CASES.items()) if who == "root" or not needs_root]


@pytest.mark.parametrize("who, name", questions(), ids=lambda value: value)
def test_the_mount_answers_as_source_does(mounts, who, name):
    if who == "root":
        require_root()
    mount = mounts(who)
    user = NOBODY if who == "user" and IS_ROOT else None
    place = name.replace("/", "-")
    natively = case.run(name, mount.source / f"{place}-natively", mount.source / f"{place}-natively", user)
    shown = case.run(name, mount.path / place, mount.source / place, user)
    if natively.skipped:
        pytest.skip(natively.skipped)
    assert natively.steps
    listed = {part for case_name, part in DIFFERENT if case_name == name}
    failures = [what for part, what in shown.failures if (part, what) not in natively.failures and part not in listed]
    assert not failures, failures[:10]
    assert len(natively.steps) == len(shown.steps)
    different = [number for number, (one, other) in enumerate(zip(natively.steps, shown.steps)) if one != other]
    parts = {natively.steps[number][0] for number in different}
    assert parts <= listed, told(natively, shown, next(number for number in different if natively.steps[number][0] not in listed))
    assert parts == listed, f"{listed - parts} of {name} answers as SOURCE does: take it off the list"


def told(natively, shown, number):
    before = "".join(f"\n  {step}: {answer}" for _, step, answer in natively.steps[max(0, number - 12):number])
    return f"step {number}, '{natively.steps[number][1]}': {natively.steps[number][2]} became {shown.steps[number][2]}, after{before}"

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

# What answers otherwise than SOURCE, and why. It is an error to list what answers alike.
DIFFERENT = {}

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
    different = first_difference(natively, shown)
    failures = [one for one in shown.failures if one not in natively.failures]
    if name in DIFFERENT:
        assert different or failures, f"{name} answers as SOURCE does: take it off the list"
        return
    assert not failures, failures[:10]
    assert not different, different


def first_difference(natively, shown):
    for number, (one, other) in enumerate(zip(natively.steps, shown.steps)):
        if one != other:
            before = "\n".join(f"  {step} -> {answer}" for step, answer in natively.steps[max(0, number - 12):number])
            return f"step {number}: {one} became {other}, after\n{before}"
    if len(natively.steps) != len(shown.steps):
        return f"{len(natively.steps)} steps became {len(shown.steps)}"
    return ""

"""Under --allow-other --writable everybody does to SOURCE what SOURCE lets them do, and no more.

Each attempt is made twice, in the mount and in a directory of the same content that no mount shows: the answers are the same, and so is what
both directories hold afterwards.
"""
import contextlib
import errno
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import tempfile

import pytest
from mount_fixtures import DATA, Mount, wait_until
from users import outcome, require_root, User

OWNER = User(20001, 20001, (30001,))
MEMBER = User(20002, 20002, (30001,))  # of the owner's second group
STRANGER = User(20003, 20003)
NAMED = User(20004, 20004)  # in access control lists
USERS = {"root": User(0, 0), "owner": OWNER, "member": MEMBER, "stranger": STRANGER, "named": NAMED}
TEAM = 30001
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
OLD_S = 10**9
TAG = "global_step2"
OPTIMIZER = "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"


def acl(*entries):
    """The bytes of a POSIX ACL: (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ANYBODY = 0xFFFFFFFF
FOR_NAMED = acl((1, 7, ANYBODY), (2, 7, NAMED.uid), (4, 5, ANYBODY), (16, 7, ANYBODY), (32, 0, ANYBODY))
CLOSED_TO_MEMBERS = acl((1, 6, ANYBODY), (2, 0, MEMBER.uid), (4, 6, ANYBODY), (16, 6, ANYBODY), (32, 4, ANYBODY))


# (name, mode, owner, group); of directories with a slash at the end.
TREE = [
    ("mine/", 0o755, OWNER.uid, OWNER.gid),
    ("mine/file", 0o644, OWNER.uid, OWNER.gid),
    ("mine/private", 0o600, OWNER.uid, OWNER.gid),
    ("mine/open", 0o666, OWNER.uid, OWNER.gid),
    ("mine/program", 0o6777, OWNER.uid, OWNER.gid),
    ("team/", 0o770, OWNER.uid, TEAM),
    ("team/file", 0o660, OWNER.uid, TEAM),
    ("inherited/", 0o2777, 0, TEAM),
    ("sticky/", 0o1777, 0, 0),
    ("sticky/file", 0o666, OWNER.uid, OWNER.gid),
    ("everybody/", 0o777, 0, 0),
    ("everybody/file", 0o644, OWNER.uid, OWNER.gid),
    ("closed/", 0o700, OWNER.uid, OWNER.gid),
    ("closed/inner/", 0o777, OWNER.uid, OWNER.gid),
    ("closed/inner/file", 0o666, OWNER.uid, OWNER.gid),
    ("listed/", 0o755, OWNER.uid, OWNER.gid),
    ("denied", 0o664, OWNER.uid, TEAM),
]
ATTRIBUTES = [("listed/", ACCESS, FOR_NAMED), ("listed/", DEFAULT, FOR_NAMED), ("denied", ACCESS, CLOSED_TO_MEMBERS), ("mine/open", "user.note", b"kept")]


def top(name):
    return name.split("/")[0]


def build(root, tops=None):
    """Directories and files of several owners and modes; `tops`: only these entries of `root`."""
    wanted = tops if tops is not None else {top(name) for name, *_ in TREE}
    for name, mode, owner, group in TREE:
        if top(name) in wanted:
            path = root / name
            if name.endswith("/"):
                path.mkdir()
            else:
                path.write_text(f"{name}\n")
            os.chown(path, owner, group)
            path.chmod(mode)
    for name, attribute, value in ATTRIBUTES:
        if top(name) in wanted:
            os.setxattr(root / name, attribute, value)


def restore(root, tops):
    """As build() left these entries."""
    for name in tops:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
    build(root, tops)


def write(path, flags=os.O_WRONLY | os.O_TRUNC):
    handle = os.open(path, flags, 0o666)
    try:
        return os.write(handle, b"written\n")
    finally:
        os.close(handle)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def new(path):
    return write(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def replace(path):
    new(path + ".incoming")
    os.replace(path + ".incoming", path)


def create_in_new_directory(path):
    os.mkdir(path + "/new")
    os.mkdir(path + "/new/inner")
    return new(path + "/new/file")


FILES = ["mine/file", "mine/private", "mine/open", "mine/program", "team/file", "sticky/file", "everybody/file", "closed/inner/file", "denied"]
DIRECTORIES = ["mine", "team", "inherited", "sticky", "everybody", "closed", "closed/inner", "listed"]
ON_FILES = {
    "read": lambda path, root: read(path),
    "write": lambda path, root: write(path),
    "append": lambda path, root: write(path, os.O_WRONLY | os.O_APPEND),
    "truncate": lambda path, root: os.truncate(path, 3),
    "unlink": lambda path, root: os.unlink(path),
    "rename": lambda path, root: os.rename(path, path + ".moved"),
    "replace": lambda path, root: replace(path),
    "move": lambda path, root: os.rename(path, f"{root}/everybody/moved"),
    "link": lambda path, root: os.link(path, path + ".link"),
    "link elsewhere": lambda path, root: os.link(path, f"{root}/everybody/link"),
    "chmod": lambda path, root: os.chmod(path, 0o777),
    "chmod set-group-ID": lambda path, root: os.chmod(path, 0o2755),
    "chown": lambda path, root: os.chown(path, os.geteuid(), -1),
    "give away": lambda path, root: os.chown(path, NAMED.uid, -1),
    "chgrp": lambda path, root: os.chown(path, -1, TEAM),
    "touch": lambda path, root: os.utime(path),
    "other times": lambda path, root: os.utime(path, (OLD_S, OLD_S)),
    "setxattr": lambda path, root: os.setxattr(path, "user.note", b"changed"),
    "setxattr, trusted": lambda path, root: os.setxattr(path, "trusted.note", b"changed"),
    "setxattr, security": lambda path, root: os.setxattr(path, "security.note", b"changed"),
    "removexattr": lambda path, root: os.removexattr(path, "user.note"),
    "getxattr": lambda path, root: os.getxattr(path, "user.note"),
    "set an ACL": lambda path, root: os.setxattr(path, ACCESS, acl((1, 7, ANYBODY), (4, 7, ANYBODY), (32, 7, ANYBODY))),
    "remove an ACL": lambda path, root: os.removexattr(path, ACCESS),
    "access": lambda path, root: [os.access(path, mode, effective_ids=True) for mode in (os.R_OK, os.W_OK, os.X_OK)],
}
ON_DIRECTORIES = {
    "list": lambda path, root: sorted(os.listdir(path)),
    "create": lambda path, root: new(path + "/new"),
    "create in a new directory": lambda path, root: create_in_new_directory(path),
    "mkdir": lambda path, root: os.mkdir(path + "/new", 0o777),
    "mkfifo": lambda path, root: os.mkfifo(path + "/new", 0o666),
    "symlink": lambda path, root: os.symlink("target", path + "/new"),
    "rmtree": lambda path, root: shutil.rmtree(path),
    "rename": lambda path, root: os.rename(path, path + ".moved"),
    "move": lambda path, root: os.rename(path, f"{root}/everybody/moved"),
    "chmod": lambda path, root: os.chmod(path, 0o777),
    "chown": lambda path, root: os.chown(path, os.geteuid(), -1),
    "set a default ACL": lambda path, root: os.setxattr(path, DEFAULT, FOR_NAMED),
    "remove a default ACL": lambda path, root: os.removexattr(path, DEFAULT),
}
ATTEMPTS = [(f"{verb} {name}", function, name) for names, functions in ((FILES, ON_FILES), (DIRECTORIES, ON_DIRECTORIES))
            for verb, function in functions.items() for name in names]


def everything(root):
    """Names, types, modes, owners, links, contents and attributes of all that is below `root`."""
    found = {}
    for directory, directories, files in os.walk(root):
        for path in [os.path.join(directory, name) for name in ["", *directories, *files]]:
            one = os.lstat(path)
            is_file = stat.S_ISREG(one.st_mode)
            attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
            found[os.path.relpath(path, root)] = (
                stat.S_IFMT(one.st_mode), oct(stat.S_IMODE(one.st_mode)), one.st_uid, one.st_gid, one.st_nlink if is_file else None,
                read(path) if is_file else None, attributes, one.st_mtime if one.st_mtime == OLD_S else "recent")
    return found


@pytest.fixture(scope="module")
def place():
    require_root()
    with tempfile.TemporaryDirectory(prefix="ckptfs-users-") as directory:
        os.chmod(directory, 0o755)
        yield pathlib.Path(directory)


@contextlib.contextmanager
def writable(place, name, *options):
    """A mount of SOURCE `name`, for everybody."""
    source = place / name
    mount = Mount(source, place / f"{name}-mount", place / f"{name}-log", "--world-size=3", "--writable", "--allow-other", *options)
    try:
        yield mount
    finally:
        mount.close()


@pytest.fixture(scope="module")
def shared(place):
    (place / "plain").mkdir(mode=0o755)
    with writable(place, "plain") as mount:
        yield mount


@pytest.mark.parametrize("name, umask", [("root", 0o022), ("owner", 0o022), ("member", 0o002), ("stranger", 0o077), ("named", 0o027)])
def test_everybody_may_what_source_lets_them(place, shared, name, umask):
    wrong, allowed, refused = [], 0, 0
    twin, source, shown = place / f"twin-{name}", shared.source / name, shared.path / name
    for root in (twin, source):
        root.mkdir(mode=0o755)
        build(root)
    pristine = everything(twin)
    for what, attempt, path in ATTEMPTS:
        expected = outcome(lambda: attempt(f"{twin}/{path}", twin), USERS[name], umask)
        found = outcome(lambda: attempt(f"{shown}/{path}", shown), USERS[name], umask)
        if found != expected:
            wrong.append(f"{what}: {found}, expected {expected}")
        left, should = everything(source), everything(twin)
        wrong += [f"{what}: afterwards {entry} is {left.get(entry)}, expected {should.get(entry)}" for entry in left.keys() | should.keys()
                  if left.get(entry) != should.get(entry)]
        allowed, refused = allowed + (should != pristine), refused + (expected in ("EACCES", "EPERM"))
        changed = {top(entry) for entry in pristine.keys() | left.keys() | should.keys() if not pristine.get(entry) == left.get(entry) == should.get(entry)}
        for root in (twin, shown):
            restore(root, changed - {"."})
    assert not wrong, "\n".join([f"{len(wrong)} differences", *wrong[:20]])
    assert allowed > 20 and (refused > 20 or name == "root")


def test_what_others_have_looked_at_stays_closed(place, shared):
    """The kernel has the names in its cache: they lead nobody past a closed directory."""
    source = shared.source / "looked-at"
    source.mkdir()
    build(source)
    shown = shared.path / "looked-at"
    inside = f"{shown}/closed/inner/file"
    assert outcome(lambda: read(inside), OWNER) == b"closed/inner/file\n"
    for attempt in (read, write, os.unlink, os.stat, lambda path: new(path + ".new"), lambda path: os.rename(path, path + ".moved")):
        assert outcome(lambda: attempt(inside), STRANGER) == "EACCES"
    assert (source / "closed" / "inner" / "file").read_text() == "closed/inner/file\n"
    assert os.listdir(source / "closed" / "inner") == ["file"]
    # Opened and closed again, in the mount.
    assert outcome(lambda: os.chmod(f"{shown}/closed", 0o755), OWNER) is None
    assert outcome(lambda: write(inside), STRANGER) == 8
    assert outcome(lambda: os.chmod(f"{shown}/closed", 0o700), OWNER) is None
    assert outcome(lambda: write(inside, os.O_WRONLY | os.O_APPEND), STRANGER) == "EACCES"
    # And in SOURCE, whose modes are looked at once a second.
    assert outcome(lambda: read(inside), OWNER) == b"written\n"
    (source / "closed").chmod(0o711)
    wait_until(lambda: outcome(lambda: read(inside), STRANGER) == b"written\n", "the open directory is seen")
    (source / "closed").chmod(0o700)
    wait_until(lambda: outcome(lambda: read(inside), STRANGER) == "EACCES", "the closed directory is seen")


def test_a_file_that_is_open_stays_as_open_as_it_was(shared):
    """As the system has it: who has opened a file has it, whatever becomes of its mode, and nobody else."""
    source = shared.source / "open"
    source.mkdir()
    build(source)
    path = f"{shared.path / 'open'}/mine/open"

    def keep():
        handle = os.open(path, os.O_RDWR)
        os.chmod(source / "mine" / "open", 0)
        return os.pwrite(handle, b"still", 0), os.pread(handle, 5, 0)

    os.chmod(source / "mine", 0o777)
    assert outcome(keep, OWNER) == (5, b"still")
    assert outcome(lambda: write(path), STRANGER) == "EACCES"


def saved(place, name, mode):
    """A tag of 4 ranks that belongs to OWNER, in a SOURCE of that name."""
    source = place / name
    shutil.copytree(DATA / "stage2_bf16_ws4", source)
    for directory, directories, files in os.walk(source):
        for entry in [directory, *(os.path.join(directory, one) for one in files)]:
            os.chown(entry, OWNER.uid, OWNER.gid)
            os.chmod(entry, 0o755 if os.path.isdir(entry) else mode)
    return source


STRANGE = {
    "unlink": os.unlink,
    "O_TRUNC": write,
    "O_WRONLY": lambda path: write(path, os.O_WRONLY),
    "O_APPEND": lambda path: write(path, os.O_WRONLY | os.O_APPEND),
    "truncate": lambda path: os.truncate(path, 0),
    "chmod": lambda path: os.chmod(path, 0o777),
    "chown": lambda path: os.chown(path, STRANGER.uid, -1),
    "utime": lambda path: os.utime(path, (1, 1)),
    "setxattr": lambda path: os.setxattr(path, "user.note", b"x"),
    "replace": lambda path: os.replace(f"{os.path.dirname(os.path.dirname(path))}/own", path),
    "remove all": lambda path: [os.unlink(os.path.join(os.path.dirname(path), name)) for name in os.listdir(os.path.dirname(path))],
    "rmtree": lambda path: shutil.rmtree(os.path.dirname(path)),
    "rename the tag": lambda path: os.rename(os.path.dirname(path), os.path.dirname(path) + ".moved"),
}


@pytest.mark.parametrize("mode", [0o644, 0o600], ids=oct)
def test_a_stranger_does_nothing_to_a_virtual_file(place, mode):
    source = saved(place, f"virtual{mode:o}", mode)
    (source / "own").write_text("of the stranger")
    os.chown(source / "own", STRANGER.uid, STRANGER.gid)
    os.chmod(source, 0o1777)
    before = everything(source)
    with writable(place, source.name) as mount:
        path = str(mount.path / TAG / OPTIMIZER)
        whole = read(path)
        assert whole != read(source / TAG / OPTIMIZER), "it is virtual"
        for what, attempt in STRANGE.items():
            assert outcome(lambda: attempt(path), STRANGER) in ("EACCES", "EPERM"), what
            assert everything(source) == before, what
        assert outcome(lambda: read(path), STRANGER) == ("EACCES" if mode == 0o600 else whole)
        assert read(path) == whole
        # The owner may, and what he makes is his.
        assert outcome(lambda: write(path), OWNER) == 8
        assert read(source / TAG / OPTIMIZER) == b"written\n"
        assert (os.stat(source / TAG / OPTIMIZER).st_uid, os.stat(source / TAG / OPTIMIZER).st_mode & 0o777) == (OWNER.uid, mode)


@pytest.mark.parametrize("who, succeeds", [(OWNER, True), (STRANGER, False)], ids=["owner", "stranger"])
def test_a_tag_is_removed_by_who_may(place, who, succeeds):
    source = saved(place, f"removed{who.uid}", 0o644)
    before = everything(source)
    with writable(place, source.name) as mount:
        answer = outcome(lambda: shutil.rmtree(mount.path / TAG), who)
        if succeeds:
            assert answer is None
            assert not (source / TAG).exists()
            assert (source / "latest").exists()
        else:
            assert answer in ("EACCES", "EPERM")
            assert everything(source) == before


def test_the_mode_of_a_tag_changes_for_all_its_shards(place):
    source = saved(place, "changed", 0o600)
    with writable(place, source.name) as mount:
        path = str(mount.path / TAG / OPTIMIZER)
        assert outcome(lambda: os.chmod(path, 0o640), OWNER) is None
        shards = list((source / TAG).glob("*optim_states.pt"))
        assert len(shards) == 4 and {shard.stat().st_mode & 0o777 for shard in shards} == {0o640}
        wait_until(lambda: os.stat(path).st_mode & 0o777 == 0o640, "the mode is shown")


@contextlib.contextmanager
def small_file_system(place, name):
    """16 MiB, of which half is kept for root."""
    image, root = place / f"{name}.image", place / name
    root.mkdir()
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "50", image], check=True)
    mounting = subprocess.run(["mount", "-o", "loop", image, root], capture_output=True, text=True)
    if mounting.returncode:
        pytest.skip(f"no file system can be mounted from a file: {mounting.stderr}")
    try:
        root.chmod(0o777)
        yield root
    finally:
        subprocess.run(["umount", "-l", root], check=True)


def fill(path):
    """(What ends it, how much was written in MiB.)"""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(handle, bytes(1 << 18))
    except OSError as failure:
        return errno.errorcode[failure.errno], os.fstat(handle).st_size >> 20
    finally:
        os.close(handle)


@pytest.mark.parametrize("io", ["auto", "cached", "direct"])
def test_what_is_kept_for_root_is_not_given_to_users(place, io):
    """No capability of the daemon becomes the caller's."""
    with small_file_system(place, f"small-{io}") as source:
        expected = outcome(lambda: fill(source / "file"), STRANGER)
        assert expected[0] == "ENOSPC" and 4 < expected[1] < 10
        (source / "file").unlink()
        with writable(place, source.name, f"--io={io}") as mount:
            assert outcome(lambda: fill(mount.path / "file"), STRANGER) == expected
            # Nor by allocating it.
            (source / "file").unlink()
            assert outcome(lambda: allocate(mount.path / "file", 10 << 20), STRANGER) == "ENOSPC"


def allocate(path, nbytes):
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, nbytes)

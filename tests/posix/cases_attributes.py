"""Cases of pjdfstest on what a file has: mode, owner, times."""
import os
import stat

from case import case
from users import User

SECOND = 10**9
DATES = [number * SECOND for number in (1900000000, 1950000000, 1960000000, 1970000000, 1980000000, 1990000000)]


def followable(c):
    return [kind for kind in c.kinds if kind != "symlink"]


@case("chmod/00")
def chmod_changes_the_mode(c):
    for kind in followable(c):
        c.make(kind, "n0")
        c(None, "chmod", "n0", 0o111)
        c.see(0o111, "n0", "mode")
        c(None, "symlink", "n0", "n1")
        of_link = os.lstat("n1").st_mode
        c(None, "chmod", "n1", 0o222)
        c.see(0o222, "n1", "mode", follow=True)
        c.see(0o222, "n0", "mode")
        c.check(os.lstat("n1").st_mode == of_link, "the mode of the link itself stays")
        before = c.time("n0")
        c.rest()
        c(None, "chmod", "n0", 0o333)
        c.check(before < c.time("n0"), "chmod changes ctime")
        c.remove("symlink", "n1")
        c.remove(kind, "n0")


@case("chmod/07", root=True)
def chmod_is_for_the_owner(c):
    c.enter(c.one)
    for kind in followable(c):
        c.make(kind, "n0", owner=c.one)
        c(None, "chmod", "n0", 0o642, by=c.one)
        before = c.time("n0")
        c.rest()
        c("EPERM", "chmod", "n0", 0o641, by=c.two)
        c.check(before == c.time("n0"), "chmod that fails does not change ctime")
        c.see((0o642, c.one.uid, c.one.gid), "n0", "mode,uid,gid")
        c(None, "symlink", "n0", "n1", by=c.one)
        c("EPERM", "chmod", "n1", 0o641, by=c.two)
        c(None, "chown", "n0", 0, 0)
        c("EPERM", "chmod", "n0", 0o641, by=c.one)
        c("EPERM", "chmod", "n1", 0o641, by=c.one)
        c.see((0o642, 0, 0), "n0", "mode,uid,gid")
        c.remove("symlink", "n1")
        c.remove(kind, "n0")
    # The set-group-ID bit of a file of a group that one does not belong to goes without an error.
    c.make("regular", "n0", owner=c.one, mode=0o755)
    c(None, "chmod", "n0", 0o2755, by=c.one)
    c.see(0o2755, "n0", "mode")
    c(None, "chmod", "n0", 0o755, by=c.one)
    c(None, "chmod", "n0", 0o2755, by=User(c.one.uid, c.two.gid))
    c.see(0o755, "n0", "mode")
    c(None, "chmod", "n0", 0o2755, by=User(c.one.uid, c.two.gid, (c.one.gid,)))
    c.see(0o2755, "n0", "mode")
    c.leave()


@case("chmod/11")
def chmod_sets_the_sticky_bit(c):
    for kind in followable(c):
        c.make(kind, "n1")
        c(None, "chmod", "n1", 0o1621)
        c.see(0o1621, "n1", "mode")
        c(None, "symlink", "n1", "n2")
        c(None, "chmod", "n2", 0o1700)
        c.see(0o1700, "n1", "mode")
        c.remove("symlink", "n2")
        c.remove(kind, "n1")
        c.make(kind, "n1", owner=c.one, mode=0o640)
        c(None, "chmod", "n1", 0o1644, by=c.one)
        c.see(0o1644, "n1", "mode")
        c.remove(kind, "n1")


@case("chmod/12", root=True)
def a_write_by_another_takes_set_user_id_away(c):
    for mode in (0o4777, 0o2777, 0o6777):
        for flags in (os.O_WRONLY, os.O_RDWR):
            c.make("regular", "n0", mode=mode)
            c.see(mode, "n0", "mode")
            c(0o777, "with_open", "n0", flags, lambda handle: os.write(handle, b"x"), lambda handle: stat.S_IMODE(os.fstat(handle).st_mode),
              by=c.one)
            c.see(0o777, "n0", "mode")
            c.remove("regular", "n0")
    for mode in (0o4777, 0o6777):  # so does a change of the size
        c.make("regular", "n0", mode=mode)
        c(None, "truncate", "n0", 100, by=c.one)
        c.see(0o777, "n0", "mode")
        c.remove("regular", "n0")


@case("chown/00", root=True)
def chown_changes_the_owner(c):
    both = User(c.one.uid, 20005, (20006,))
    for kind in c.kinds:
        ways = ["lchown"] if kind == "symlink" else ["chown", "lchown", "through a link"]
        for way in ways:
            call, path = ("chown", "n1") if way == "through a link" else (way, "n0")
            c.make(kind, "n0")
            if path == "n1":
                c(None, "symlink", "n0", "n1")
            of_link = os.lstat(path)
            # The super-user always may.
            c(None, call, path, 123, 456)
            c.see((123, 456), "n0", "uid,gid")
            # The owner may choose among his groups.
            c(None, call, path, c.one.uid, 20007)
            c(None, call, path, -1, both.gid, by=both)
            c.see((c.one.uid, both.gid), "n0", "uid,gid")
            c(None, call, path, c.one.uid, both.groups[0], by=both)
            c.see((c.one.uid, both.groups[0]), "n0", "uid,gid")
            # Whoever changes nothing may.
            c(None, call, path, -1, -1, by=c.two)
            c.see((c.one.uid, both.groups[0]), "n0", "uid,gid")
            if path == "n1":
                now = os.lstat("n1")
                c.check((now.st_uid, now.st_gid) == (of_link.st_uid, of_link.st_gid), "the link's own owner stays")
            before = c.time("n0")
            c.rest()
            c(None, call, path, c.one.uid, both.gid, by=both)
            c.check(before < c.time("n0"), "chown changes ctime")
            before = c.time("n0")
            c.rest()
            c("EPERM", call, path, c.two.uid, -1, by=c.two)
            c.check(before == c.time("n0"), "chown that fails does not change ctime")
            if path == "n1":
                c.remove("symlink", "n1")
            c.remove(kind, "n0")
    # Set-user-ID and set-group-ID of an executable file go, of a directory stay; without execution by the group, the latter is a lock.
    for kind in followable(c):
        for mode in (0o6555, 0o6544, 0o2555, 0o2544, 0o4555):
            for ids, who in (((20008, 20009), None), ((-1, both.gid), both), ((-1, -1), both)):
                with c.part("to nobody" if ids == (-1, -1) else ""):
                    c.make(kind, "n0", owner=User(c.one.uid, 20007), mode=mode)
                    c(None, "chown", "n0", *ids, by=who)
                    c([mode, mode & 0o777, mode & 0o2777], "lstat", "n0", "mode")
                    c.remove(kind, "n0")


@case("chown/07", root=True)
def chown_is_for_the_super_user(c):
    c.enter(c.one)
    one, two = c.one, c.two
    for kind in c.kinds:
        for through in ([False] if kind == "symlink" else [False, True]):
            c.make(kind, "n1", owner=one)
            if through:
                c(None, "symlink", "n1", "n2", by=one)
            calls = ["chown"] if through else ["lchown"] if kind == "symlink" else ["chown", "lchown"]
            for call in calls:
                path = "n2" if through else "n1"
                c("EPERM", call, path, two.uid, two.gid, by=one)
                c("EPERM", call, path, one.uid, one.gid, by=two)
                c("EPERM", call, path, two.uid, two.gid, by=two)
                c("EPERM", call, path, -1, two.gid, by=one)
            c.see((one.uid, one.gid), "n1", "uid,gid")
            if through:
                c.remove("symlink", "n2")
            c.remove(kind, "n1")
    c.leave()


@case("utimensat/00")
def utimensat_changes_times(c):
    for kind in c.kinds:
        c.make(kind, "n0")
        c(None, "utimens", "n0", DATES[0], DATES[1], False)
        c.see((DATES[0], DATES[1]), "n0", "atime,mtime")
        c.remove(kind, "n0")


@case("utimensat/01")
def utimensat_knows_now(c):
    c.make("regular", "n0")
    c(None, "utimens", "n0", SECOND, SECOND)
    before = c.time("n0")
    c.rest()
    c(None, "utimens", "n0", "now", "now")
    for which in ("atime", "mtime"):
        c.check(before < c.time("n0", which) < before + 300 * SECOND, f"{which} is now")


@case("utimensat/02")
def utimensat_leaves_out(c):
    c.make("regular", "n0")
    before = c.time("n0", "mtime")
    c(None, "utimens", "n0", DATES[0], "omit")
    c.see(DATES[0], "n0", "atime")
    c.check(c.time("n0", "mtime") == before, "mtime stays")
    c(None, "utimens", "n0", "omit", DATES[1])
    c.see((DATES[0], DATES[1]), "n0", "atime,mtime")


@case("utimensat/04")
def utimensat_takes_any_order(c):
    c.make("regular", "n0")
    for first, second in ((100000000 * SECOND, 200000000 * SECOND), (200000000 * SECOND, 100000000 * SECOND)):
        c(None, "utimens", "n0", first, second)
        c.see((first, second), "n0", "atime,mtime")


@case("utimensat/05")
def utimensat_follows_links_or_not(c):
    c.make("regular", "n0")
    c(None, "symlink", "n0", "n2")
    c(None, "utimens", "n0", DATES[0], DATES[1])
    c(None, "utimens", "n2", DATES[2], DATES[3], False)
    c.see((DATES[0], DATES[1]), "n0", "atime,mtime")
    c.see((DATES[2], DATES[3]), "n2", "atime,mtime")
    c(None, "utimens", "n2", DATES[4], DATES[5])
    c.see((DATES[4], DATES[5]), "n0", "atime,mtime")
    c.check(c.time("n2", "atime") != DATES[4], "the link's own atime is another")
    c.see(DATES[3], "n2", "mtime")


@case("utimensat/06", root=True)
def now_is_for_who_may_write(c):
    c.make("regular", "n0")
    c("EACCES", "utimens", "n0", "now", "now", by=c.one)
    c(None, "chown", "n0", c.one.uid, c.one.gid)
    c(None, "chmod", "n0", 0o444)
    c(None, "utimens", "n0", "now", "now", by=c.one)
    c(None, "utimens", "n0", "omit", "omit")
    c(None, "chown", "n0", 0, 0)
    c(None, "chmod", "n0", 0o666)
    c(None, "utimens", "n0", "now", "now", by=c.one)


@case("utimensat/07", root=True)
def other_times_are_for_the_owner(c):
    c.make("regular", "n0")
    for mode in (0o644, 0o666):
        c(None, "chmod", "n0", mode)
        for times in (("omit", DATES[1]), (DATES[0], "omit"), (DATES[0], DATES[1])):
            c("EPERM", "utimens", "n0", *times, by=c.one)
    c(None, "chown", "n0", c.one.uid, c.one.gid)
    c(None, "chmod", "n0", 0o444)
    c(None, "utimens", "n0", DATES[0], DATES[1], by=c.one)
    c.see((DATES[0], DATES[1]), "n0", "atime,mtime")
    c(None, "utimens", "n0", DATES[2], DATES[3])
    c.see((DATES[2], DATES[3]), "n0", "atime,mtime")


@case("utimensat/08")
def times_have_parts_of_a_second(c):
    c.make("regular", "n0")
    c(None, "utimens", "n0", 100000000 * SECOND + 123456789, 200000000 * SECOND + 987654321)
    c.see((100000000 * SECOND + 123456789, 200000000 * SECOND + 987654321), "n0", "atime,mtime")


@case("utimensat/09")
def times_go_on_after_2038(c):
    c.make("regular", "n0")
    for first, second in ((2**31, 2**32), (-1, -2**31)):
        c(None, "utimens", "n0", first * SECOND, second * SECOND)
        c.see((first * SECOND, second * SECOND), "n0", "atime,mtime")

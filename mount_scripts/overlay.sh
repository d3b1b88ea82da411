#!/usr/bin/env bash
# A directory of checkpoints that a job saves to and resumes from at another world size, while SOURCE stays untouched: the
# kernel's overlayfs keeps what is written in UPPER, and a writable mount of ckptfs lies over it.
#   overlay.sh SOURCE UPPER MOUNTPOINT --world-size=N [OPTION...]                mounts, and returns; as root
#   overlay.sh SOURCE UPPER MOUNTPOINT --world-size=N|auto [OPTION...] -- COMMAND [ARGUMENT...]
#                                              for COMMAND alone, as any user whom the kernel gives namespaces
#   overlay.sh --unmount MOUNTPOINT                                              undoes the first
# MOUNTPOINT may be SOURCE itself: then no path changes. UPPER is made if it is not there; it must lie outside of SOURCE, in
# a file system of this machine that keeps extended attributes (ext4, xfs, tmpfs; not NFS). What was written stays in
# UPPER/upper; remove UPPER to forget it. SOURCE must not be changed meanwhile. The OPTIONs are those of ckptfs.
# CKPTFS names the program, where it is neither on PATH nor in this repository's build/.
set -euo pipefail

usage="overlay.sh SOURCE UPPER MOUNTPOINT --world-size=N [OPTION...] [-- COMMAND [ARGUMENT...]], or overlay.sh --unmount MOUNTPOINT"

die() {
    echo "overlay: $*" >&2
    exit 1
}

is_mounted() { # TYPE: whether it is what lies uppermost on $mount_point
    [[ $(findmnt --noheadings --output FSTYPE --mountpoint "$mount_point" | tail -n 1) == "$1" ]]
}

real() {
    (cd "$1" 2>/dev/null && pwd -P) || die "'$1' is not a directory"
}

unmount_overlay() {
    for _ in {1..100}; do  # the daemon, which has it open, ends a moment after its own mount
        umount "$mount_point" 2>/dev/null && return
        sleep 0.1
    done
    umount "$mount_point"
}

if [[ ${1:-} == --unmount ]]; then
    [[ $# -eq 2 ]] || die "usage: $usage"
    mount_point=$(real "$2")
    if is_mounted fuse.ckptfs; then
        fusermount3 -u "$mount_point"
    fi
    is_mounted overlay || die "no overlay is mounted on '$mount_point'"
    unmount_overlay
    exit
fi

[[ $# -ge 4 && $1 != -* && $2 != -* && $3 != -* ]] || die "usage: $usage"
source=$(real "$1")
upper=$(realpath --canonicalize-missing "$2")
mount_point=$(real "$3")
shift 3
for path in "$source" "$upper"; do
    [[ $path != *[,:\\\"]* ]] || die "'$path' holds a comma, colon, backslash or quote, which overlayfs takes for its own"
    [[ $path/ != "$source"/?* ]] || die "'$upper' lies in '$source': what is written must be kept outside of it"
done

ckptfs=${CKPTFS:-$(command -v ckptfs || echo "$(dirname "${BASH_SOURCE[0]}")/../build/ckptfs")}
[[ -x $ckptfs ]] || die "there is no ckptfs on PATH: install it, or name it with CKPTFS=..."

for word in "$@"; do
    if [[ $word == -- && ${CKPTFS_OVERLAY_IS_PRIVATE:-} != yes ]]; then
        export CKPTFS_OVERLAY_IS_PRIVATE=yes
        # Of a user who is not root the ids stay what they are.
        [[ $EUID -eq 0 ]] && namespaces=(--mount) || namespaces=(--map-current-user --keep-caps --mount)
        exec unshare "${namespaces[@]}" --propagation slave "${BASH_SOURCE[0]}" "$source" "$upper" "$mount_point" "$@"
    fi
done

mkdir -p "$upper/upper" "$upper/work"
# What the root of the overlay shows of itself is that of upper.
chmod --reference="$source" "$upper/upper"
[[ $(stat -c %u:%g "$source") == "$(stat -c %u:%g "$upper/upper")" ]] || chown --reference="$source" "$upper/upper"
layers=lowerdir=$source,upperdir=$upper/upper,workdir=$upper/work
# Outside of the machine's own user namespace, overlayfs may keep its notes in user.* attributes only.
[[ $(awk 'NR == 1 { print $3 }' /proc/self/uid_map) == 4294967295 ]] || layers+=,userxattr
mount -t overlay -o "$layers" overlay "$mount_point"

if [[ ${CKPTFS_OVERLAY_IS_PRIVATE:-} == yes ]]; then
    unset CKPTFS_OVERLAY_IS_PRIVATE
    exec "$ckptfs" run --in-place "$mount_point" "$@"  # the overlay goes with the namespace
fi
"$ckptfs" "$mount_point" "$mount_point" --writable "$@" || {
    status=$?
    unmount_overlay
    exit $status
}

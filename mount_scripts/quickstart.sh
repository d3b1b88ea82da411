#!/usr/bin/env bash
# Shows a ZeRO checkpoint at another world size, from nothing: installs what is missing, builds, mounts, explains.
#   quickstart.sh [SOURCE [N]]     default: the sample in this directory, saved at 4 ranks, shown at 3
#   quickstart.sh --unmount        unmounts what this user's earlier runs have left, and removes the mount points
# Leaves the mount (below $TMPDIR or /tmp) and the build directory build/ behind, nothing else.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repository=$(dirname "$here")
build=$repository/build

die() {
    echo "quickstart: $*" >&2
    exit 1
}

unmount_all() {
    local view failed=0
    for view in "${TMPDIR:-/tmp}"/ckptfs-view.*; do
        # What another user mounted cannot be looked into; what a killed daemon left cannot either, and is this user's to clear.
        if grep -qF " $view fuse.ckptfs " /proc/self/mounts; then
            grep -F " $view fuse.ckptfs " /proc/self/mounts | grep -q "user_id=$EUID," || continue
            fusermount3 -u "$view" || { failed=1; continue; }
        fi
        if [[ -d $view && -O $view ]]; then
            rmdir "$view" || failed=1
        fi
    done
    return $failed
}

[[ $# -le 2 ]] || die "usage: $0 [SOURCE [N]], or $0 --unmount"
if [[ ${1:-} == --unmount ]]; then
    [[ $# -eq 1 ]] || die "usage: $0 --unmount"
    unmount_all
    exit
fi
source_dir=${1:-$here/sample}
world_size=${2:-3}
[[ -d $source_dir ]] || die "'$source_dir' is not a directory; give the directory that was passed to save_checkpoint()"
source_dir=$(cd "$source_dir" && pwd -P)
[[ $world_size =~ ^[1-9][0-9]*$ ]] || die "'$world_size' is not a world size; give the number of ranks that will resume"
[[ -c /dev/fuse ]] || die "/dev/fuse is missing: load the kernel module fuse, or start the container with --device /dev/fuse --cap-add SYS_ADMIN"

step() { printf '\n== %s\n' "$*"; }

step "Dependencies"
"$here/install_dependencies.sh"
echo "complete"

step "Build in $build"
log=$(mktemp "${TMPDIR:-/tmp}/ckptfs-build.XXXXXX")
mount_point=""
clean_up() {
    rm -f "$log"
    # Only an unused directory: after a successful mount this is not reached.
    [[ -z $mount_point ]] || rmdir "$mount_point" 2>/dev/null || true
}
trap clean_up EXIT
settings=()
# A build directory that is there already keeps its own settings.
[[ -e $build/CMakeCache.txt ]] || settings=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF)
{
    cmake -S "$repository" -B "$build" "${settings[@]}" &&
        cmake --build "$build" --target ckptfs --parallel "$(nproc)"
} > "$log" 2>&1 || { cat "$log" >&2; die "the build failed; its output is above"; }
"$build/ckptfs" --version

step "The checkpoint, and how its ranks are re-cut"
"$build/ckptfs" inspect "$source_dir" "--world-size=$world_size"

step "Mount at world size $world_size"
mount_point=$(mktemp -d "${TMPDIR:-/tmp}/ckptfs-view.XXXXXX")
"$build/ckptfs" "$source_dir" "$mount_point" "--world-size=$world_size"
view=$mount_point
mount_point=""
echo "$view"
(cd "$view" && find . -mindepth 1 -printf '%y %12s  %P\n' | sort -k 3)

cat <<TEXT

The view is at      $view
It is read-only. For a job that resumes and saves at one path, unchanged, there is
                    $build/ckptfs run --in-place $source_dir --world-size=$world_size -- torchrun --nproc-per-node=$world_size train.py
Unmount it with     fusermount3 -u $view && rmdir $view
TEXT

#!/usr/bin/env bash
# Shows a ZeRO checkpoint at another world size, from nothing: installs what is missing, builds, mounts, explains.
#   quickstart.sh [--with-verify] [SOURCE [N]]   default: the sample in this directory, saved at 4 ranks, shown at 3
#   quickstart.sh --unmount                      unmounts what this user's earlier runs have left, and removes the mount points
# --with-verify: installs libtorch too, if no torch is there, with which `ckptfs verify` reads views a second time.
# Leaves the mount (below $TMPDIR or /tmp) and the build directory build/ behind, nothing else.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repository=$(dirname "$here")
build=$repository/build
build_cpu_seconds=310  # of a release build (CONTRIBUTING.md)

die() {
    echo "quickstart: $*" >&2
    exit 1
}

has_torch() {
    python3 -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' 2>/dev/null
}

# What apt says of itself, where its lists are there; empty where not.
disk_space() {  # disk_space PACKAGE...
    LC_ALL=C apt-get -o Debug::NoLocking=1 --assume-no --no-install-recommends install "$@" 2>/dev/null |
        sed -n 's/^After this operation, \(.*\) of additional disk space will be used\.$/\1/p'
}

announce() {
    local cores missing space minutes
    cores=$(nproc)
    mapfile -t missing < <("$here/install_dependencies.sh" --missing "${libtorch[@]}")
    if [[ ${#missing[@]} -gt 0 ]]; then
        space=$(disk_space "${missing[@]}" || true)
        [[ -n $space ]] || space="about 500 MB where no compiler is there${libtorch[*]:+, and 1.3 GB for libtorch}"
        echo "installs  ${missing[*]}"
        echo "          with apt-get$([[ $EUID -eq 0 ]] || echo " through sudo"): $space; a minute or two"
    else
        echo "installs  nothing: all that the build needs is there"
    fi
    if [[ -x $build/ckptfs ]]; then
        echo "builds    what has changed since the last build in $build"
    else
        minutes=$(((build_cpu_seconds / cores + 59) / 60))
        echo "builds    ckptfs in $build, 30 MB: about $minutes min on this machine's $cores processors, longer beside other work"
    fi
    echo "mounts    $source_dir at world size $world_size, read-only, below ${TMPDIR:-/tmp}"
}

# Reads what the build prints, keeps it in a file, and shows how far it is: one line that is written over on a terminal, else a line now and then.
show_progress() {  # show_progress FILE
    local line percent shown=-1
    while IFS= read -r line; do
        printf '%s\n' "$line" >> "$1"
        if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
            percent=$((100 * BASH_REMATCH[1] / BASH_REMATCH[2]))
        elif [[ $line =~ ^\[\ *([0-9]+)%\] ]]; then
            percent=${BASH_REMATCH[1]}
        else
            continue
        fi
        if [[ -t 1 ]]; then
            printf '\r%3d %%' "$percent"
        elif ((percent / 20 > shown / 20 || shown < 0)); then
            printf '%3d %%\n' "$percent"
            shown=$percent
        fi
    done
    [[ ! -t 1 ]] || printf '\r      \r'
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

usage="usage: $0 [--with-verify] [SOURCE [N]], or $0 --unmount"
libtorch=()
if [[ ${1:-} == --with-verify ]]; then
    shift
    has_torch || libtorch=(--libtorch)
fi
if [[ ${1:-} == --unmount ]]; then
    [[ $# -eq 1 ]] || die "$usage"
    unmount_all
    exit
fi
[[ $# -le 2 && ${1:-} != -* ]] || die "$usage"
source_dir=${1:-$here/sample}
world_size=${2:-3}
[[ -d $source_dir ]] || die "'$source_dir' is not a directory; give the directory that was passed to save_checkpoint()"
source_dir=$(cd "$source_dir" && pwd -P)
[[ $world_size =~ ^[1-9][0-9]*$ ]] || die "'$world_size' is not a world size; give the number of ranks that will resume"
[[ -c /dev/fuse ]] || die "/dev/fuse is missing: load the kernel module fuse, or start the container with --device /dev/fuse --cap-add SYS_ADMIN"

step() { printf '\n== %s\n' "$*"; }

step "What this does"
announce

step "Dependencies"
"$here/install_dependencies.sh" "${libtorch[@]}"
echo "complete"

step "Build in $build"
log=$(mktemp "${TMPDIR:-/tmp}/ckptfs-build.XXXXXX")
mount_point=""
said=""
clean_up() {
    rm -f "$log"
    [[ -z $said ]] || rm -rf "$said"
    # Only an unused directory: after a successful mount this is not reached.
    [[ -z $mount_point ]] || rmdir "$mount_point" 2>/dev/null || true
}
trap clean_up EXIT
settings=()
# A build directory that is there already keeps its own settings.
# A layer as one file: a third of the time.
[[ -e $build/CMakeCache.txt ]] || settings=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=0 -DCMAKE_UNITY_BUILD_RELOCATABLE=ON)
{
    cmake -S "$repository" -B "$build" "${settings[@]}" &&
        cmake --build "$build" --target ckptfs --parallel "$(nproc)"
} 2>&1 | show_progress "$log" || { cat "$log" >&2; die "the build failed; its output is above"; }
"$build/ckptfs" --version
[[ -e $build/ckptfs_torch.so ]] || cat <<TEXT
Without torch, which is not there: \`ckptfs verify\` checks checkpoints, but cannot have their views read a second time, by PyTorch.
Nothing else needs it. With it: $0 --with-verify
TEXT

step "The checkpoint, and how its ranks are re-cut"
"$build/ckptfs" inspect "$source_dir" "--world-size=$world_size"

step "Mount at world size $world_size"
mount_point=$(mktemp -d "${TMPDIR:-/tmp}/ckptfs-view.XXXXXX")
# What ckptfs says once only, such as that there is no syslog, it would remember longer than this.
said=$(mktemp -d "${TMPDIR:-/tmp}/ckptfs-said.XXXXXX")
XDG_RUNTIME_DIR=$said "$build/ckptfs" "$source_dir" "$mount_point" "--world-size=$world_size"
view=$mount_point
mount_point=""
echo "$view"
(cd "$view" && find . -mindepth 1 -printf '%y %12s  %P\n' | sort -k 3)

cat <<TEXT

The view is at      $view
It is read-only. For a job that resumes and saves at one path, unchanged, there is
                    $build/ckptfs run --in-place $source_dir --world-size=$world_size -- torchrun --nproc-per-node=$world_size train.py
Unmount it with     $build/ckptfs umount $view && rmdir $view
TEXT

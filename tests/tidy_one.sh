#!/usr/bin/env bash
# clang-tidy on one file, unless it passed before with the same configuration and the same preprocessed text.
#   tidy_one.sh BUILD_DIRECTORY FILE     FILE may be one that includes others (a unity file): it checks those
set -euo pipefail
build=$1
file=$2
cache=${CKPTFS_TIDY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ckptfs/tidy}

# Without the third-party headers, whose version counts instead: preprocessing them costs as much as checking them.
include_closure() {
    local pending=("$file") seen=" " next header
    while [[ ${#pending[@]} -gt 0 ]]; do
        next=${pending[-1]}
        unset 'pending[-1]'
        [[ "$seen" != *" $next "* ]] || continue
        seen+="$next "
        [[ $next == */Unity/* ]] || echo "$next"
        while read -r header; do
            # There named by absolute path, from the repository's root, or, what CMake has made, from the unity file.
            if [[ $next == */Unity/* ]]; then
                [[ -e $header ]] || header=$(dirname "$next")/$header
                pending+=("$(realpath --relative-to=. "$header")")
                continue
            fi
            for root in include src "$build/include"; do
                [[ ! -e $root/$header ]] || pending+=("$root/$header")
            done
        done < <(sed -n 's/^#include "\(.*\)"$/\1/p' "$next")
    done
}

hash=$({
    clang-tidy-14 --version
    dpkg-query -W libspdlog-dev libdeflate-dev nlohmann-json3-dev libcli11-dev libfuse3-dev libstdc++-12-dev 2>/dev/null || true
    include_closure | sort | xargs cat .clang-tidy
} | sha256sum | cut -c 1-32)

if [[ -e $cache/$hash ]]; then
    exit 0
fi
options=()
if [[ $file == */Unity/* ]]; then
    options=('--header-filter=(include/ckptfs|src)/.*\.(h|cpp)$')
fi
clang-tidy-14 -p "$build" --quiet "${options[@]}" "$file" 2> >(grep -v 'warnings generated' >&2)
mkdir -p "$cache"
touch "$cache/$hash"

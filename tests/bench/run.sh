#!/usr/bin/env bash
# All benchmarks, one after the other, each with its peers in the same run; the documents of docs/ are written anew.
# Takes about an hour. Measure on a machine that does nothing else. CKPTFS_BINARY: the program (default: build/ckptfs).
#
#     tests/bench/run.sh [DIRECTORY]      where files are made (default: /var/tmp; memory is /dev/shm)
set -euo pipefail
cd "$(dirname "$0")/../.."

directory=${1:-${TMPDIR:-/var/tmp}}
bench() {
    echo "== $*"
    python3 "tests/bench/$@"
}

cmake --build build --target mirror_fs bench_layers
build/tests/bench/bench_layers
bench bench_streams.py --directory "$directory" --layers 6 --width 2048 --report docs/performance.md
bench bench_resume.py --directory "$directory" --report docs/benchmark.md
bench bench_views.py --directory "$directory" --report docs/benchmark-views.md
bench bench_writing.py --directory "$directory" --report docs/benchmark-writing.md
bench bench_export.py --directory "$directory" --report docs/benchmark-export.md
bench footprint.py --report docs/cli.md

#!/usr/bin/env bash
# All benchmarks, one after the other, each with its peers in the same run; the documents of docs/ are written anew.
# Takes about two hours. Measure on a machine that does nothing else. CKPTFS_BINARY: the program (default: build/ckptfs).
#
#     tests/bench/run.sh [--no-build] [--directory=DIRECTORY] [BENCHMARK...]
#
# BENCHMARK: some of them, by the names below. --directory: where files are made, on a disk (default: $TMPDIR, or /var/tmp; memory is
# /dev/shm). --no-build: what is in build/ is not brought up to date first.
#
# fio, and bindfs as one more peer, are found by PATH, CKPTFS_FIO and CKPTFS_BINDFS (mount_scripts/install_dependencies.sh --bench). A benchmark that cannot
# run fails, and says what it lacks; the others run all the same. Peers that are not installed are left out, and named.
set -uo pipefail
cd "$(dirname "$0")/../.."

all=(layers streams fio cold profile scale resume views writing export footprint)
directory=${TMPDIR:-/var/tmp}
must_build=yes
while [[ ${1-} == --* ]]; do
    case $1 in
        --no-build) must_build=no ;;
        --directory=*) directory=${1#*=} ;;
        *) echo "run.sh: there is no option $1" >&2; exit 2 ;;
    esac
    shift
done

run() {
    case $1 in
        layers) build/tests/bench/bench_layers ;;
        streams) python3 tests/bench/bench_streams.py --directory "$directory" --layers 6 --width 2048 --report docs/performance.md ;;
        fio) python3 tests/bench/bench_fio.py --directory "$directory" --layers 6 --width 2048 --repetitions 3 --report docs/performance.md ;;
        cold) python3 tests/bench/bench_cold.py --directory "$directory" --layers 6 --width 2048 --repetitions 3 --report docs/performance.md ;;
        profile) python3 tests/bench/bench_profile.py --directory "$directory" --layers 6 --width 2048 --readers 1 2 --report docs/performance.md ;;
        scale) python3 tests/bench/bench_scale.py --directory "$directory" --report docs/performance.md ;;
        resume) python3 tests/bench/bench_resume.py --directory "$directory" --report docs/benchmark.md ;;
        views) python3 tests/bench/bench_views.py --directory "$directory" --report docs/benchmark-views.md ;;
        writing) python3 tests/bench/bench_writing.py --directory "$directory" --report docs/benchmark-writing.md ;;
        export) python3 tests/bench/bench_export.py --directory "$directory" --report docs/benchmark-export.md ;;
        footprint) python3 tests/bench/footprint.py --report docs/cli.md ;;
        *) echo "run.sh: there is no benchmark $1; there are: ${all[*]}" >&2; return 2 ;;
    esac
}

if [[ $must_build == yes ]]; then
    cmake --build build --target bench_peers bench_layers || exit
fi
failed=()
for name in "${@:-${all[@]}}"; do
    echo "== $name"
    run "$name" || failed+=("$name")
done
if [[ ${#failed[@]} -gt 0 ]]; then
    echo "FAILED: ${failed[*]}" >&2
    exit 1
fi

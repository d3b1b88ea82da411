#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests; a failure does not stop the steps after it.
#   tests/run.sh               the default set
#   tests/run.sh --full        and every cell of the oracle (writes docs/oracle.md) and of the frameworks, the long random tests of a writable mount, a build of
#                              each file for itself, clang-tidy and clang's analyzer on each file for itself, libtorch 1.13, smoke runs of the benchmark and of
#                              the proof on GPUs
#   tests/run.sh STEP...       only these steps, in this order (their names are in the summary)
# The Python environment is kept in $CKPTFS_VENV, by default ~/.cache/ckptfs/venv-<hash of the requirements>.
# CI=true: a test that skips itself counts as failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=tests/steps.sh
source tests/steps.sh

default_steps=(install format asan release tidy mount posix package wheel deb scripts page readme oracle frameworks views export scale tsan)
full_steps=(oracle_full frameworks_full tidy_full posix_full build unit analyze torch113 bench gpu)

steps=("${default_steps[@]}")
if [[ "${1:-}" == --full ]]; then
    shift
    # These hold what the quick ones show, and more.
    steps=("${default_steps[@]/%oracle/oracle_full}")
    steps=("${steps[@]/%frameworks/frameworks_full}")
    steps=("${steps[@]/%tidy/tidy_full}")
    steps=("${steps[@]/%posix/posix_full}" "${full_steps[@]:4}")
fi
if [[ $# -gt 0 ]]; then
    steps=("$@")
fi
for step in "${steps[@]}"; do
    [[ " ${default_steps[*]} ${full_steps[*]} " == *" $step "* ]] || { echo "unknown step '$step'" >&2; exit 2; }
done

mkdir -p "$logs"
declare -A outcome seconds cpu_seconds
passed=0
failed=0

# Sets cpu: the seconds of processors, user and system, that all that ended below this shell has taken so far.
take_cpu() {
    times > "$logs/times"
    cpu=$(awk 'NR == 2 { for (i = 1; i <= 2; ++i) { split($i, part, /[ms]/); sum += 60 * part[1] + part[2] } print int(sum + 0.5) }' "$logs/times")
}

for step in "${steps[@]}"; do
    echo "=== $step, $SECONDS s after the start"
    begin=$SECONDS
    take_cpu
    cpu_begin=$cpu
    rm -f "$logs/$step".*
    set_up_environment
    # Each step in a shell of its own: `set -e` works there, and a broken step cannot take the others along. Signals that
    # this shell ignores because of how it was started (nohup, in the background) would be ignored by daemons under test.
    env --default-signal=HUP,INT,QUIT bash -euo pipefail -c 'source tests/steps.sh; "step_$1"' step "$step" < /dev/null 2>&1 | tee "$logs/$step.log"
    status=${PIPESTATUS[0]}
    seconds[$step]=$((SECONDS - begin))
    take_cpu
    cpu_seconds[$step]=$((cpu - cpu_begin))
    count_results "$step" "$status"
    passed=$((passed + step_passed))
    failed=$((failed + step_failed))
    outcome[$step]="$step_passed passed, $step_failed failed"
    [[ $step_failed -eq 0 ]] || echo "--- $step FAILED (log: $logs/$step.log)"
done

for step in "${steps[@]}"; do
    if [[ ${outcome[$step]} != *" 0 failed" ]]; then
        echo "=== end of $logs/$step.log"
        tail -n 40 "$logs/$step.log"
    fi
done
echo
echo "=== summary"
for step in "${steps[@]}"; do
    printf '%-15s %5d s %5d s of CPU  %s\n' "$step" "${seconds[$step]}" "${cpu_seconds[$step]}" "${outcome[$step]}"
done
printf '%-15s %5d s %5d s of CPU\n' total "$SECONDS" "$cpu"
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]

# The steps of tests/run.sh. Each is a function step_<name> that runs in the repository's root under `set -e`.
# A step that leaves <name>.*.xml (JUnit) in $logs is counted by test, any other as one.
# shellcheck shell=bash

build=build/dev          # every target, each file for itself
release=build            # build/ckptfs: the program that all other tests run
logs=build/test-logs
jobs=$(nproc)

set_up_environment() {
    local hash
    hash=$(cat tests/requirements{,-deepspeed,-frameworks}.txt | sha256sum | cut -c 1-12)
    venv=${CKPTFS_VENV:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/ckptfs/venv-$hash}
    if [[ -d $venv/bin ]]; then
        export VIRTUAL_ENV=$venv
        [[ ":$PATH:" == *":$venv/bin:"* ]] || export PATH="$venv/bin:$PATH"
    fi
    # What tests outside CMake need to know.
    export CKPTFS_BINARY=$PWD/$release/ckptfs
    export CKPTFS_BUILD=$PWD/$release
    export PYTHONDONTWRITEBYTECODE=1
    # DeepSpeed's JIT operators, built once for all tests.
    export TORCH_EXTENSIONS_DIR=${TORCH_EXTENSIONS_DIR:-$venv/torch_extensions}
}
set_up_environment

configure() {  # configure DIRECTORY PRESET [ARGUMENTS...]
    local directory=$1 preset=$2
    shift 2
    local launcher=()
    if command -v ccache >/dev/null; then
        launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    fi
    cmake -G Ninja --preset "$preset" -B "$directory" "${launcher[@]}" "$@" > "$logs/configure-$(basename "$directory").log" \
        || { cat "$logs/configure-$(basename "$directory").log"; return 1; }
}

compile() {  # compile DIRECTORY [TARGETS...]
    local directory=$1
    shift
    # All errors at once rather than the first.
    cmake --build "$directory" ${1:+--target "$@"} -- -k 0 --quiet
}

run_ctest() {  # run_ctest STEP DIRECTORY LABELS [ARGUMENTS...]
    ctest --test-dir "$2" -L "$3" -j "$jobs" --output-on-failure --no-tests=error --output-junit "$PWD/$logs/$1.xml" \
        --progress "${@:4}"
}

# Whole programs, whose results are counted test by test all the same.
run_sanitized() {  # run_sanitized STEP DIRECTORY LABELS
    local status=0 file
    rm -rf "$2/test-results"
    ctest --test-dir "$2" -L "$3" -j "$jobs" --output-on-failure --no-tests=error --progress || status=$?
    for file in "$2"/test-results/*.xml; do
        cp "$file" "$logs/$1.$(basename "$file")"
    done
    return $status
}

# No test takes half as long: what hangs fails, with the stack it hung in, and the tests after it run.
run_pytest() {  # run_pytest STEP PATH [ARGUMENTS...]
    local step=$1
    shift
    python3 -m pytest -p no:cacheprovider -q -ra --timeout=900 --junitxml="$logs/$step.xml" "$@"
}

# Sets step_passed and step_failed from what a step left behind and its exit status.
count_results() {  # count_results STEP STATUS
    local file total bad skipped
    step_passed=0
    step_failed=0
    for file in "$logs/$1".*xml; do
        [[ -e $file ]] || continue
        total=$(junit_total tests "$file")
        bad=$(($(junit_total failures "$file") + $(junit_total errors "$file")))
        skipped=$(($(grep -o '<skipped\b' "$file" | wc -l) + $(junit_total disabled "$file")))
        step_passed=$((step_passed + total - bad - skipped))
        step_failed=$((step_failed + bad))
        if [[ ${CI:-} == true ]]; then
            step_failed=$((step_failed + skipped))
        fi
    done
    if [[ $2 -ne 0 && $step_failed -eq 0 ]]; then
        step_failed=1
    elif [[ $2 -eq 0 && $((step_passed + step_failed)) -eq 0 ]]; then
        step_passed=1
    fi
}

junit_total() {  # junit_total ATTRIBUTE FILE: of the first <testsuites> or <testsuite> that has it
    local value
    value=$(tr '\n' ' ' < "$2" | grep -oE '<testsuites? [^>]*' | grep -o "\b$1=\"[0-9]*\"" | head -n 1 | grep -o '[0-9]*')
    echo "${value:-0}"
}

sources() {  # sources DIRECTORY...: C++ files that git knows or would add
    git -c safe.directory="$PWD" ls-files --cached --others --exclude-standard -- "${@/%/\/*.h}" "${@/%/\/*.cpp}"
}

step_install() {
    mount_scripts/install_dependencies.sh --tests
    if [[ ! -e $venv/.complete ]]; then
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install -q -r tests/requirements.txt
        DS_BUILD_OPS=0 "$venv/bin/pip" install -q --no-build-isolation -r tests/requirements-deepspeed.txt
        "$venv/bin/pip" install -q -r tests/requirements-frameworks.txt
        touch "$venv/.complete"
    fi
    "$venv/bin/python3" -c 'import deepspeed, torch; print("torch", torch.__version__, "DeepSpeed", deepspeed.__version__)' 2>&1 | tail -n 1
    [[ -c /dev/fuse ]] || { echo "/dev/fuse is missing: mount tests cannot run here"; [[ ${CI:-} != true ]]; }
}

step_format() {
    sources include src tests | xargs -r clang-format-14 --dry-run -Werror
}

step_build() {
    configure $build dev
    compile $build
}

step_unit() {
    run_ctest unit $build 'unit|property'
}

step_release() {
    configure $release release -DBUILD_TESTING=OFF
    compile $release
}

# A layer at a time: most of the time goes into the headers, which all its files share.
step_tidy() {
    configure_tsan
    find build/tsan/CMakeFiles build/tsan/src -path '*/Unity/*.cxx' | xargs -P "$jobs" -n 1 tests/tidy_one.sh build/tsan
}

# Some checks look at nothing but the file that is compiled.
step_tidy_full() {
    configure build/tidy tsan -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_UNITY_BUILD=OFF
    sources src | grep '\.cpp$' | xargs -P "$jobs" -n 1 tests/tidy_one.sh build/tidy
}

step_analyze() {
    configure build/tidy tsan -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_UNITY_BUILD=OFF
    sources src | grep '\.cpp$' | xargs -P "$jobs" -n 1 clang-tidy-14 -p build/tidy --quiet --checks='-*,clang-analyzer-*'
}

step_mount() {
    run_pytest mount tests/mount
}

step_posix() {
    run_pytest posix tests/posix -m 'not full'
}

step_posix_full() {
    run_pytest posix_full tests/posix
}

step_package() {
    run_pytest package tests/install
}

step_scripts() {
    run_pytest scripts tests/scripts
}

# Chromium looks at what inspect draws; screenshots are left in $logs/page.
step_page() {
    run_pytest page tests/page
}

step_readme() {
    run_pytest readme tests/readme
}

# The file that is given away, installed: by itself, and beside what the tests' environment has.
step_wheel() {
    mount_scripts/build_wheel.sh
    local clean=build/wheel/clean beside=build/wheel/beside
    python3 -m venv --clear $clean
    $clean/bin/pip install -q dist/ckptfs-*.whl
    CKPTFS_WHEEL_VENV=$PWD/$clean run_pytest wheel.file tests/wheel
    # torch is the one of the tests' environment: 200 MB that need not be there twice.
    python3 -m venv --clear $beside
    python3 -c 'import site; print(site.getsitepackages()[0])' > "$(echo $beside/lib/python3.*/site-packages)/tests.pth"
    $beside/bin/pip install -q -r tests/python/requirements.txt dist/ckptfs-*.whl
    PATH=$PWD/$beside/bin:$PATH VIRTUAL_ENV=$PWD/$beside run_pytest wheel.python tests/python
    PATH=$PWD/$beside/bin:$PATH VIRTUAL_ENV=$PWD/$beside run_pytest wheel.hook tests/frameworks/test_hook.py
}

# As a package of Debian's: built, checked, and used in a Debian that has nothing else.
step_deb() {
    (cd $release && cpack -G DEB --config CPackConfig.cmake -B "$PWD/packages" > "$OLDPWD/$logs/cpack.log") || { cat $logs/cpack.log; return 1; }
    CKPTFS_PACKAGES=$PWD/$release/packages run_pytest deb tests/deb
}

step_oracle() {
    python3 tests/oracle/run_oracle.py --jobs "$jobs" --junit "$logs/oracle.xml"
}

step_oracle_full() {
    python3 tests/oracle/run_oracle.py --full --jobs "$jobs" --report docs/oracle.md --junit "$logs/oracle_full.xml"
}

step_frameworks() {
    run_pytest frameworks tests/frameworks -m 'not full'
}

step_frameworks_full() {
    run_pytest frameworks_full tests/frameworks
}

step_views() {
    run_pytest views tests/views
}

step_export() {
    run_pytest export tests/export
}

step_scale() {
    run_pytest scale tests/scale
}

# Every target, and with g++ all unit and property tests: what the dev build would show without sanitizers is shown here.
step_asan() {
    configure build/asan asan
    compile build/asan
    run_sanitized asan build/asan 'unit|property'
}

# With clang, so that both compilers see all sources and unit tests; clang-tidy takes its commands from here too.
configure_tsan() {
    configure build/tsan tsan -DCMAKE_CXX_COMPILER=clang++-14
}

step_tsan() {
    configure_tsan
    # clang 14's runtime finds no place for its shadow where a kernel randomises addresses with more than 28 bits.
    local fixed=()
    if setarch "$(uname -m)" -R true 2>/dev/null; then
        fixed=(setarch "$(uname -m)" -R)
    fi
    compile build/tsan unit_tests
    "${fixed[@]}" bash -euo pipefail -c 'source tests/steps.sh; run_sanitized tsan build/tsan unit'
}

step_torch113() {
    mount_scripts/install_dependencies.sh --libtorch
    configure build/torch113 dev -DTorch_ROOT=/usr
    compile build/torch113 unit_torch ckptfs
    run_ctest torch113 build/torch113 unit -R '^torch\.'
    build/torch113/ckptfs verify mount_scripts/sample --world-size=3
}

step_bench() {
    mount_scripts/install_dependencies.sh --bench
    run_pytest bench tests/bench
}

# On CPUs that pass for GPUs; the proof itself is `tests/gpu/run_gpu.py`.
step_gpu() {
    run_pytest gpu tests/gpu
}

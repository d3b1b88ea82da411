#!/usr/bin/env bash
# Installs the Debian packages that are missing, and only those:
#   install_dependencies.sh            what building and mounting needs
#   install_dependencies.sh --tests    and what tests/run.sh needs
#   install_dependencies.sh --wheel    and what build_wheel.sh needs
#   install_dependencies.sh --libtorch and Debian's libtorch (1.3 GB), which `ckptfs verify` of views needs
#   install_dependencies.sh --bench    and what tests/bench measures with, and against: fio, bindfs
#   install_dependencies.sh --missing  names what the first would install, one package a line, and installs nothing; `--missing --libtorch` the same of the third
# A torch that the active Python has serves as well as Debian's libtorch (--tests brings a Python with torch of its own).
set -euo pipefail

die() {
    echo "install_dependencies.sh: $*" >&2
    exit 1
}

only_names=no
if [[ ${1:-} == --missing ]]; then
    only_names=yes
    shift
fi
packages=(g++ cmake ninja-build pkg-config fuse3 libfuse3-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libspdlog-dev libdeflate-dev)
wheel=(dpkg-dev python3-venv xz-utils)
case "${1:-}" in
    "") ;;
    --tests)
        # DeepSpeed builds its CPU operators when they are first used: python3-dev.
        packages+=(libgtest-dev libgmock-dev libbenchmark-dev zlib1g-dev clang-14 libclang-rt-14-dev clang-format-14
                   clang-tidy-14 ccache e2fsprogs git mount procps util-linux python3-venv python3-dev)
        packages+=("${wheel[@]}" debootstrap file lintian)
        # Read the manual pages, the completion and the unit of systemd (which it need not run).
        packages+=(groff-base man-db mandoc zsh systemd)
        # Looks at the page of `ckptfs inspect --html`: 100 MB to download, 310 MB on disk.
        packages+=(chromium-headless-shell fonts-dejavu-core)
        ;;
    --wheel) packages+=("${wheel[@]}") ;;
    --libtorch) packages+=(libtorch-dev) ;;
    --bench) packages+=(fio bindfs) ;;
    *) die "unknown option '$1'" ;;
esac

is_installed() {
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

is_there() {
    case "$1" in
        # A tool that came another way (pip, a tool chain of one's own) serves as well.
        g++ | git | ccache | fio | bindfs) command -v "$1" >/dev/null ;;
        cmake) command -v cmake >/dev/null && cmake_is_new_enough ;;
        ninja-build) command -v ninja >/dev/null ;;
        python3-venv) is_installed "$1" || python3 -c 'import venv, ensurepip' 2>/dev/null ;;
        python3-dev) [[ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null)/Python.h" ]] ;;
        *) is_installed "$1" ;;
    esac
}

cmake_is_new_enough() {
    local version
    version=$(cmake --version | sed -n '1s/[^0-9]*//p')
    [[ "$(printf '3.25\n%s\n' "$version" | sort -V | head -n 1)" == 3.25 ]]
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "these packages are missing and need root to be installed: ${missing[*]}"
    fi
}

missing=()
command -v dpkg-query >/dev/null || die "this is not a Debian system; install by hand what corresponds to: ${packages[*]}"
for package in "${packages[@]}"; do
    is_there "$package" || missing+=("$package")
done

if [[ $only_names == yes ]]; then
    [[ ${#missing[@]} -eq 0 ]] || printf '%s\n' "${missing[@]}"
    exit
fi
if [[ ${#missing[@]} -gt 0 ]]; then
    echo "Installing: ${missing[*]}"
    as_root apt-get -o Acquire::Retries=3 -qq update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -qq -y \
        --no-install-recommends install "${missing[@]}" >/dev/null
    hash -r
fi
cmake_is_new_enough || die "CMake 3.25 or newer is needed; '$(command -v cmake)' is $(cmake --version | head -n 1)"

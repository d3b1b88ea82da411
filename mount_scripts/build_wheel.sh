#!/usr/bin/env bash
# Leaves in dist/ the wheel of ckptfs, one file for every Python from 3.10 on and every x86-64 Linux with glibc 2.28 or newer,
# and the sdist:
#   build_wheel.sh            on Debian 12, x86-64, after install_dependencies.sh --wheel; takes packages from Debian and PyPI
# Does nothing where dist/ holds both of the same sources already.
# Compiler, libfuse and build are kept in build/wheel/; its source/ holds the source of the libfuse that is in the wheel.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
work=$root/build/wheel
prefix=$work/prefix
platform=manylinux_2_28_x86_64
glibc=2.28

die() {
    echo "build_wheel.sh: $*" >&2
    exit 1
}

step() { printf '== %s\n' "$*"; }

logged() { # LOG COMMAND...: shows what a command says only if it fails
    local log=$work/$1.log
    shift
    "$@" > "$log" 2>&1 || { cat "$log" >&2; die "'$*' failed; its output is above"; }
}

# One line that stands for all files that the wheel is made of.
sources() {
    find CMakeLists.txt LICENSE README.md cmake include pyproject.toml src mount_scripts/build_wheel.sh mount_scripts/install_dependencies.sh \
        -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
}

is_up_to_date() {
    compgen -G 'dist/ckptfs-*.whl' >/dev/null && compgen -G 'dist/ckptfs-*.tar.gz' >/dev/null &&
        [[ -e $work/built-from && $(cat "$work/built-from") == "$(sources)" ]]
}

if is_up_to_date; then
    step "dist/ holds what is built of these sources"
    exit
fi

# The compiler and what packs: PyPI's.
make_tools() {
    local stamp
    stamp=$work/venv/.complete-$(sha256sum < cmake/wheel/requirements.txt | cut -c 1-12)
    if [[ ! -e $stamp ]]; then
        python3 -m venv --clear "$work/venv"
        logged pip "$work/venv/bin/pip" install -r cmake/wheel/requirements.txt
        touch "$stamp"
    fi
    export PATH=$work/venv/bin:$PATH
    zig=$("$work/venv/bin/python" -c 'import os, ziglang; print(os.path.dirname(ziglang.__file__))')
    mkdir -p "$work/bin"
    local tool
    for tool in cc c++; do
        write_tool $tool "$zig/zig $tool -target x86_64-linux-gnu.$glibc -g0"
    done
    for tool in ar ranlib; do
        write_tool $tool "$zig/zig $tool"
    done
}

write_tool() { # NAME COMMAND
    local text
    text=$(printf '#!/bin/sh\nexec %s "$@"\n' "$2")
    [[ -x $work/bin/$1 && $(cat "$work/bin/$1") == "$text" ]] || { printf '%s\n' "$text" > "$work/bin/$1"; chmod 755 "$work/bin/$1"; }
}

# Debian's libfuse wants its own, newer glibc; its source package does not.
fetch_libfuse() {
    local list apt=$work/apt
    mkdir -p "$apt"/{sources,lists/partial,archives/partial} "$work/source"
    # The machine's own sources of packages, asked for source packages.
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        case $list in
            *.list) sed -nE 's/^deb(-src)?[[:space:]]/deb-src /p' "$list" > "$apt/sources/$(basename "$list")" 2>/dev/null || true ;;
            *.sources) sed -E 's/^Types:.*/Types: deb-src/' "$list" > "$apt/sources/$(basename "$list")" ;;
        esac
    done
    local options=(-qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$apt/sources" -o "Dir::State::Lists=$apt/lists"
        -o "Dir::Cache=$apt" -o Acquire::Retries=3 -o APT::Sandbox::User="$(id -un)")
    logged apt-update apt-get "${options[@]}" update
    (cd "$work/source" && logged apt-source apt-get "${options[@]}" source fuse3)
    rm -rf "$apt"
}

make_libfuse() {
    local source
    if [[ ! -e $prefix/lib/libfuse3.so.3 ]]; then
        rm -rf "$work/source"
        fetch_libfuse
        source=$(echo "$work"/source/fuse3-*/)
        # fusermount3 is the system's: in /usr/bin everywhere, else on PATH.
        logged meson-setup env CC="$work/bin/cc" AR="$work/bin/ar" meson setup "$work/source/build" "$source" --prefix="$prefix" \
            --libdir=lib --buildtype=release --strip -Dbindir=/usr/bin -Dsbindir=/usr/sbin -Dutils=false -Dexamples=false \
            -Dtests=false "-Dc_args=-ffile-prefix-map=$work=." -Dc_link_args=-Wl,--undefined-version
        logged meson-install meson install -C "$work/source/build"
        rm -rf "$work/source/build"
    fi
    [[ -e $prefix/lib/libfuse3.so.3 ]] || die "this Debian's libfuse has another soname than libfuse3.so.3; build the wheel on Debian 12"
}

# Headers without this machine's glibc beside them, and Debian's static libraries, which want no newer one.
link_libraries() {
    local name libraries=/usr/lib/x86_64-linux-gnu
    mkdir -p "$prefix"/{include,lib/cmake/spdlog,lib/pkgconfig,share/cmake}
    for name in spdlog fmt nlohmann CLI libdeflate.h pcre2.h; do
        [[ -e /usr/include/$name ]] || die "/usr/include/$name is missing; run mount_scripts/install_dependencies.sh --wheel"
        ln -sfn "/usr/include/$name" "$prefix/include/$name"
    done
    for name in libdeflate libpcre2-8; do
        ln -sfn "$libraries/$name.a" "$prefix/lib/$name.a"
        sed "s|^prefix=.*|prefix=$prefix|; s|^libdir=.*|libdir=$prefix/lib|; s|^includedir=.*|includedir=$prefix/include|" \
            "$libraries/pkgconfig/$name.pc" > "$prefix/lib/pkgconfig/$name.pc"
    done
    cp cmake/wheel/spdlogConfig.cmake "$prefix/lib/cmake/spdlog/"
    cp -r /usr/share/cmake/nlohmann_json /usr/share/cmake/CLI11 "$prefix/share/cmake/"
}

collect_licenses() {
    local name out=$prefix/licenses fuse
    fuse=$(cd "$work/source" && echo fuse3_*.dsc)
    rm -rf "$out"
    mkdir -p "$out"
    fuse=${fuse#fuse3_}
    sed "s/@FUSE_VERSION@/${fuse%.dsc}/" cmake/wheel/LICENSES.txt > "$out/BUNDLED.txt"
    cp "$work"/source/fuse3-*/LGPL2.txt "$out/LGPL-2.1.txt"
    cp "$work"/source/fuse3-*/LICENSE "$out/libfuse.txt"
    for name in libcli11 libdeflate libfmt libpcre2 libspdlog nlohmann-json3; do
        cp "/usr/share/doc/$name-dev/copyright" "$out/$name.txt"
    done
    cat "$zig"/lib/{libcxx,libcxxabi,libunwind}/LICENSE.TXT > "$out/libcxx.txt"
}

build_wheel() {
    rm -rf "$work/built"
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CMakeLists.txt) \
        logged wheel "$work/venv/bin/python" -m build --wheel --no-isolation --outdir "$work/built" . \
        -C "build-dir=$work/cmake" -C "cmake.args=-GNinja" -C "cmake.define.CMAKE_TOOLCHAIN_FILE=$root/cmake/wheel/zig.cmake" \
        -C "cmake.define.CKPTFS_WHEEL_BUNDLE=$prefix"
    # Which Linux it runs on is said by the symbols in it. libfuse3.so.3 alone may come from outside.
    AUDITWHEEL_LD_LIBRARY_PATH=$prefix/lib auditwheel show --json "$work"/built/*.whl > "$work/audit.json" 2> "$work/audit.log" || { cat "$work/audit.log" >&2; die "auditwheel failed"; }
    "$work/venv/bin/python" - "$work/audit.json" $platform <<'PYTHON'
import json, re, sys
found = json.load(open(sys.argv[1]))
of = lambda tag: [int(number) for number in re.findall(r"_(\d+)_(\d+)_", tag)[0]]
outside = set(found["external_libs"]) - {"libfuse3.so.3"}
if not found["sym_tag"].startswith("manylinux_") or of(found["sym_tag"]) > of(sys.argv[2]) or outside:
    sys.exit(f"build_wheel.sh: the wheel is {found['sym_tag']}, not {sys.argv[2]}, or needs libraries that are not in it: {sorted(outside)}")
PYTHON
    wheel tags --remove --platform-tag $platform "$work"/built/*.whl > "$work/tags.log"
    mkdir -p dist
    rm -f dist/ckptfs-*.whl dist/ckptfs-*.tar.gz
    sources > "$work/built-from"
    mv "$work"/built/*.whl dist/
    logged sdist "$work/venv/bin/python" -m build --sdist --no-isolation --outdir dist .
}

main() {
    [[ $# -eq 0 ]] || die "takes no arguments"
    [[ $(uname -m) == x86_64 ]] || die "builds for x86-64, on x86-64"
    mkdir -p "$work"
    step "Tools"
    make_tools
    step "libfuse"
    make_libfuse
    link_libraries
    collect_licenses
    step "ckptfs"
    build_wheel
    ls -l dist
}

main "$@"

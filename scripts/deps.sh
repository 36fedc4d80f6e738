#!/bin/sh
# What Quire is built from, on Debian 12 or newer.
#
#   scripts/deps.sh         install what is missing; quick and silent when nothing is
#   scripts/deps.sh check   only say what is missing; exit 1 if a required package is
#   scripts/deps.sh cuda    find nvcc, else bring one into build/deps/cuda (Python wheels, 570 MB)
#   scripts/deps.sh faiss   build the FAISS C API into build/deps (Debian ships its headers, not its code)
#
# Needs root, or sudo without a password; else it prints the command to run and exits 1.
set -u
cd "$(dirname "$0")/.." || exit 1

required="gcc g++ make pkg-config libc6-dev liblmdb-dev libxml2-dev zlib1g-dev libpcre2-dev
    libutf8proc-dev libuchardet-dev libarchive-dev libjansson-dev libxxhash-dev libcmocka-dev"
# The program is built without these where they cannot be had: our own matrix product instead of
# oneDNN's, no vector index, no PDF text.
optional="libdnnl-dev libopenblas-dev libfaiss-dev poppler-utils"

say() { echo "deps: $*" >&2; }

# missing PACKAGE...: those that are not installed. pkg-config may be provided by pkgconf.
missing() {
    for p in "$@"; do
        case $p in
        pkg-config) command -v pkg-config >/dev/null 2>&1 || echo "$p" ;;
        *) dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || echo "$p" ;;
        esac
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then env DEBIAN_FRONTEND=noninteractive "$@"
    else sudo -n env DEBIAN_FRONTEND=noninteractive "$@"; fi
}

may_install() { [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }; }

# With package lists at hand the download may just work; where it does not, they are fetched anew,
# once.
updated=no
install() {
    if [ $updated = no ] && ! apt-cache show "$1" >/dev/null 2>&1; then
        as_root apt-get update -qq >&2 && updated=yes
    fi
    log=$(mktemp)
    as_root apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1
    st=$?
    if [ $st != 0 ] && [ $updated = no ]; then
        as_root apt-get update -qq >&2 && updated=yes
        as_root apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1
        st=$?
    fi
    [ $st = 0 ] || tail -n 5 "$log" >&2
    rm -f "$log"
    return $st
}

packages() {
    if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        # Not Debian: the libraries may be there under other names.
        for m in libxml-2.0 zlib libpcre2-8 libutf8proc uchardet jansson cmocka libarchive; do
            pkg-config --exists $m 2>/dev/null && continue
            say "no apt-get here and no library '$m'; the Debian names are:" $required $optional
            return 1
        done
        return 0
    fi
    # shellcheck disable=SC2086,SC2046
    need=$(missing $required | tr '\n' ' ') want=$(missing $optional | tr '\n' ' ')
    [ -z "$need$want" ] && return 0
    if [ "${1:-}" = check ]; then
        say "missing: $need$want"
        [ -z "$need" ]
        return
    fi
    if ! may_install; then
        say "not installed: $need$want"
        say "run as root: apt-get install -y --no-install-recommends $need$want"
        [ -z "$need" ]
        return
    fi
    say "installing $need$want"
    # shellcheck disable=SC2086
    install $need $want && return 0
    # Something has no candidate here: what is required, then each of the others by itself.
    # shellcheck disable=SC2086
    if [ -n "$need" ] && ! install $need; then
        say "could not install: $need"
        return 1
    fi
    for p in $want; do install "$p" || say "continuing without $p"; done
    return 0
}

# The source package comes through a sources list of our own, made from what this machine already
# uses (apt reads both of its formats for us); the system's configuration is not touched.
faiss_source() {
    work=$1
    package=$(dpkg-query -W -f '${source:Package}=${source:Version}' libfaiss-dev 2>/dev/null)
    [ -n "$package" ] || { say "libfaiss-dev is not installed"; return 1; }
    signed=
    for key in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
        [ -f $key ] && signed="[signed-by=$key]"
    done
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v signed="$signed" 'NF == 3 { print "deb-src", signed, $0 }' | sort -u >"$work/sources.list"
    [ -s "$work/sources.list" ] || { say "this machine has no package sources"; return 1; }
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    apt="apt-get -qq -o Dir::Etc::sourcelist=$work/sources.list -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists=$work/lists -o Dir::Cache::archives=$work/archives
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=$(id -un)"
    # shellcheck disable=SC2086
    $apt update >&2 # a source that cannot be used (another vendor's) is no reason to stop
    # shellcheck disable=SC2086
    (cd "$work" && $apt source --download-only "$package" >&2) &&
        mkdir "$work/faiss" && tar -xf "$work"/faiss_*.orig.tar.* -C "$work/faiss" --strip-components=1
}

faiss() {
    out=build/deps
    if [ -f $out/libfaiss_c.a ] && [ -f $out/include/faiss/c_api/Index_c.h ]; then return 0; fi
    work=$(mktemp -d) || return 1
    st=1
    if faiss_source "$work"; then
        say "compiling the FAISS C API"
        mkdir -p $out/include/faiss/c_api "$work/o"
        find "$work/faiss/c_api" -maxdepth 1 -name '*.cpp' |
            xargs -P "$(nproc)" -I{} sh -c \
                'g++ -std=c++17 -O2 -fPIC -fopenmp -w -c "$1" -o "$2/$(basename "$1" .cpp).o"' sh {} "$work/o" &&
            rm -f $out/libfaiss_c.a && ar rcs "$work/libfaiss_c.a" "$work"/o/*.o &&
            cp "$work"/faiss/c_api/*.h $out/include/faiss/c_api/ && mv "$work/libfaiss_c.a" $out/ && st=0
    fi
    rm -rf "$work"
    [ $st = 0 ] || say "no FAISS C API: the vector index will be left out"
    return $st
}

# nvcc 13 comes as wheels of the Python index (nvidia-cuda-nvcc, -crt, -nvvm, -runtime, nvidia-cublas, all in one
# folder nvidia/cu13). The cu12 wheels have ptxas but no nvcc; Debian 12 has 11.8 as nvidia-cuda-toolkit in
# non-free, 1.6 GB.
cuda() {
    for n in "$(command -v nvcc)" /usr/local/cuda/bin/nvcc build/deps/cuda/bin/nvcc; do
        [ -x "$n" ] && { say "nvcc is there: $n"; return 0; }
    done
    missing python3-venv | grep -q . && { may_install && install python3-venv || return 1; }
    python3 -m venv build/deps/cuda-venv &&
        build/deps/cuda-venv/bin/pip install -q --no-deps nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt \
            nvidia-cuda-runtime nvidia-cuda-cccl nvidia-cublas || { say "no wheels of nvcc here"; return 1; }
    root=$(cd build/deps/cuda-venv && echo "$PWD"/lib/python3*/site-packages/nvidia/cu13)
    [ -x "$root/bin/nvcc" ] || { say "the wheels have no nvcc"; return 1; }
    ln -sfn "$root" build/deps/cuda && say "nvcc is there: build/deps/cuda/bin/nvcc"
}

case ${1:-} in
'') packages ;;
cuda) cuda ;;
check) packages check ;;
faiss) packages && faiss ;;
*) say "unknown argument '$1': give nothing, check, cuda or faiss"; exit 2 ;;
esac

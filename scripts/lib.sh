# Shared by the scripts: Debian packages, the cache folder, messages. Source it; it changes to the
# repository's root. Installing touches Debian packages and the cache folder only.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# Services and bare containers may have no HOME.
export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d : -f 6)}
export HONE_CACHE=${HONE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hone}
export HONE_SHARED=${HONE_SHARED:-$PWD/../shared}

BUILD_PACKAGES=(build-essential pkg-config meson ninja-build libjansson-dev libssl-dev
                libcurl4-openssl-dev libyaml-dev libpcre2-dev libutf8proc-dev
                libevent-dev)

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# is_installed NAME[:ARCH]: for this machine's architecture unless said otherwise; a library may be
# there for several.
is_installed() {
    local arch
    case "$1" in
    *:*) arch=${1#*:} ;;
    *) arch=$(dpkg --print-architecture 2>/dev/null) ;;
    esac
    dpkg-query -W -f '${Architecture} ${db:Status-Status}\n' "$1" 2>/dev/null | grep -qxE "(all|$arch) installed"
}

# need_packages NAME...: installs the missing ones, as root or with sudo.
need_packages() {
    local missing=() name as=()
    for name in "$@"; do
        is_installed "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null || die "missing, and no apt-get to install them: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "run as root, or install: apt-get install ${missing[*]}"
        as=(sudo)
    fi
    say "installing ${missing[*]}"
    local log
    log=$(mktemp)
    # One broken source among several is no reason to stop; none that answers is.
    "${as[@]}" env LC_ALL=C apt-get update -q -o Acquire::Retries=0 >"$log" 2>&1
    if ! grep -qE '^(Hit|Get):' "$log"; then
        tail -n 4 "$log" >&2
        rm -f "$log"
        die "no network, or no way to the package mirror: could not install ${missing[*]}"
    fi
    # A machine just started may be updating itself: wait for that.
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=300 \
        --no-install-recommends "${missing[@]}" >"$log" 2>&1 || {
        tail -n 8 "$log" >&2
        rm -f "$log"
        die "could not install ${missing[*]}"
    }
    rm -f "$log"
}

# build FOLDER TARGETS [meson option...]: sets up once and builds the targets, all when that is empty;
# quiet unless it fails.
build() {
    local folder=$1 targets=$2 log
    shift 2
    log=$(mktemp)
    if [ ! -f "$folder/build.ninja" ]; then
        # A folder left half set up is of no use.
        rm -rf "$folder"
        say "setting up $folder"
        meson setup "$folder" "$@" >"$log" 2>&1 || { tail -n 30 "$log" >&2; rm -f "$log"; return 1; }
    fi
    say "building $folder"
    # Target names have no blanks.
    # shellcheck disable=SC2086
    ninja -C "$folder" $targets >"$log" 2>&1 || { tail -n 40 "$log" >&2; rm -f "$log"; return 1; }
    rm -f "$log"
}

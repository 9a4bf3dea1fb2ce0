# What `meson install` leaves, and programs built against it in C and in C++. BUILD is the build
# folder, LIBDIR where libraries go under the prefix, HONE the program.
. "$(dirname "$0")/../cli/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
stage=$work/stage
lib=$stage$PREFIX/$LIBDIR
question="Write one sentence about the sea."

if ! meson install --no-rebuild -C "$BUILD" --destdir "$stage" >"$work/log" 2>&1; then
    fail "meson install" "$(tail -n 5 "$work/log")"
    finish
    exit
fi
version=$(sed -n 's/.*"\(.*\)"/\1/p' "$BUILD/src/base/version.h")

# same NAME WANTED GOT: two texts.
same() {
    if [ "$2" = "$3" ]; then pass "$1"; else
        fail "$1" "$(diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | head -n 20)"
    fi
}

{
    printf '%s\n' bin/hone include/hone.h "$LIBDIR"/libhone.{a,so,so.0,"so.$version"} \
        "$LIBDIR/pkgconfig/hone.pc" share/man/man3/hone.3 share/man/man1/hone.1
    "$HONE" help --list | sed 's/ /-/g; s|.*|share/man/man1/hone-&.1|'
} | LC_ALL=C sort >"$work/wanted"
same "installs the program, the library, their pages and nothing else" "$(cat "$work/wanted")" \
    "$(cd "$stage$PREFIX" && find . ! -type d | sed 's|^\./||' | LC_ALL=C sort)"

declared=$(cc -E -P "$root/include/hone.h" | tr '\n' ' ' | grep -oE '\bhone_[a-z_]+ ?\(' |
    tr -d ' (' | grep -v '_fn$' | LC_ALL=C sort -u)
same "libhone.so shows what hone.h declares and nothing else" "$declared" \
    "$(nm -D --defined-only "$lib/libhone.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
        LC_ALL=C sort)"
same "so does libhone.a" "$declared" \
    "$(nm -g --defined-only "$lib/libhone.a" | awk 'NF == 3 { print $3 }' | LC_ALL=C sort)"
same "it can't print, end the program or touch what is the program's" "" \
    "$(nm -D --undefined-only "$lib/libhone.so" | awk '{ sub(/@.*/, "", $2); print $2 }' | grep -xE \
        'std(in|out|err)|v?d?printf|puts|putchar|perror|_?exit|_Exit|abort|__assert_fail|signal|sigaction|setlocale|setenv|putenv|chdir|fork|system')"
if command -v groff >/dev/null; then
    same "hone.3 is clean roff" "" "$(groff -man -Tutf8 -ww -z "$root/docs/hone.3" 2>&1)"
else
    skip "hone.3 is clean roff" "no groff"
fi
for page in docs/hone.3 docs/library.md; do
    missing=$(for name in $declared; do
        tr -d '\\' <"$root/$page" | grep -qw "$name" || echo "$name"
    done)
    same "$page names every function" "" "$missing"
done
same "docs/library.md shows the example's program" "$(cat "$root/examples/embed/embed.c")" \
    "$(awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' "$root/docs/library.md")"

export PKG_CONFIG_SYSROOT_DIR=$stage
PKG_CONFIG_PATH=$lib/pkgconfig
export PKG_CONFIG_PATH
same "pkg-config knows the version" "$version" "$(pkg-config --modversion hone)"
strict=(-Wall -Wextra -Wpedantic -Werror -O1)
expect "hone.h is C99" 0 "" cc -std=c99 "${strict[@]}" -fsyntax-only -x c "$stage$PREFIX/include/hone.h"
cxx=$(command -v "${CXX:-c++}")
if [ -n "$cxx" ]; then
    expect "hone.h is C++11" 0 "" "$cxx" -std=c++11 "${strict[@]}" -fsyntax-only -x c++ \
        "$stage$PREFIX/include/hone.h"
else
    skip "hone.h is C++11" "no C++ compiler"
fi

# The example in both languages, with the shared library and, where no .so is, the static one.
static=$work/static
mkdir "$static" && cp "$lib/libhone.a" "$static"
read -ra shared_flags < <(pkg-config --cflags --libs hone)
read -ra static_flags < <(pkg-config --static --cflags --libs hone | sed "s|-L$lib|-L$static|")
programs=()
# compile LINKING LANGUAGE STANDARD COMPILER FLAGS...
compile() {
    local linking=$1 language=$2 standard=$3 compiler=$4
    shift 4
    local program=$work/embed-$linking-$standard
    expect "the example as $standard, $linking" 0 "" "$compiler" -std="$standard" "${strict[@]}" \
        -x "$language" "$root/examples/embed/embed.c" -x none -o "$program" "$@"
    [ -x "$program" ] && programs+=("$program")
}
compile shared c c99 cc "${shared_flags[@]}"
compile static c c99 cc "${static_flags[@]}"
if [ -n "$cxx" ]; then
    compile shared c++ c++11 "$cxx" "${shared_flags[@]}"
    compile static c++ c++11 "$cxx" "${static_flags[@]}"
fi
export LD_LIBRARY_PATH=$lib
same "the shared ones take libhone.so.0" "2" \
    "$(for p in "$work"/embed-shared-*; do readelf -d "$p"; done | grep -c 'NEEDED.*\[libhone\.so\.0\]')"
same "the static ones don't" "0" \
    "$(for p in "$work"/embed-static-*; do readelf -d "$p"; done | grep -c 'NEEDED.*libhone')"

for program in "${programs[@]}"; do
    name=$(basename "$program")
    expect "$name without a model" 1 "nowhere.gguf" "$program" nowhere.gguf
    if [ ! -f "$BASE_MODEL" ]; then
        skip "$name answers as hone chat does" "the base model isn't there (scripts/get-base-model)"
        continue
    fi
    [ -f "$work/answer" ] || "$HONE" chat "$BASE_MODEL" -p "$question" -n 48 >"$work/answer" 2>/dev/null
    run "$program" "$BASE_MODEL" "$question"
    same "$name answers as hone chat does" "0: $(cat "$work/answer")" "$code: $(head -n -1 "$work/out")"
    same "$name compares two texts" "1" "$(tail -n 1 "$work/out" | grep -cE '^0\.[0-9]{4}$')"
    same "$name: the library says nothing" "" "$(cat "$work/err")"
done
finish

# Commands, options, help and man pages: what the table promises.
. "$(dirname "$0")/lib.sh"

expect "no command is wrong usage" 2 "usage: hone COMMAND" "$HONE"
expect "unknown command names the nearest" 2 "did you mean 'help'" "$HONE" hepl
expect "unknown option names the nearest" 2 "did you mean '--man'" "$HONE" help --mna
expect "a flag takes no value" 2 "--man takes no value" "$HONE" help --man=1
expect "unknown letter" 2 "unknown option '-Z'" "$HONE" help -Z
expect "too many arguments" 2 "too many|no part of|unknown command" "$HONE" help help me
expect "a beginning names the command" 2 "did you mean 'quantize'" "$HONE" quant
expect "and a longer word does" 2 "did you mean 'eval'" "$HONE" evaluate
expect "an option before the command" 2 "'--adapter' before the command: usage: hone COMMAND" "$HONE" --adapter x
expect "large limits are written out" 2 "between 0 and 1000000000$" "$HONE" chat model -n -3
expect "and in the list of keys" 0 "sft.max_length +whole +8 to 1048576 " "$HONE" run --keys
expect "--help exits 0" 0 "usage: hone COMMAND" "$HONE" --help
expect "--version" 0 "^hone [0-9]+\.[0-9]+\.[0-9]+$" "$HONE" --version

for columns in 60 50; do
    run env COLUMNS=$columns "$HONE" help
    wide=$(awk -v n=$columns 'length > n' "$work/out" | head -1)
    [ -z "$wide" ] && pass "the overview on $columns columns" || fail "the overview on $columns columns" "$wide"
done
expect "a command that others belong to names them" 0 "distill store +keep a teacher" "$HONE" help distill
while read -r name; do
    # The name is one or two words.
    # shellcheck disable=SC2086
    expect "help of '$name'" 0 "^Options:" "$HONE" $name --help
    cp "$work/out" "$work/long"
    grep -q "^usage: hone $name" "$work/long" && pass "usage of '$name'" ||
        fail "usage of '$name'" "its help doesn't begin with its own usage"
    # shellcheck disable=SC2086
    run "$HONE" help $name
    cmp -s "$work/out" "$work/long" && pass "hone help $name is the same" ||
        fail "hone help $name is the same" "it differs from hone $name --help"
    # shellcheck disable=SC2086
    run env COLUMNS=40 "$HONE" help $name
    wide=$(awk '/^Examples:/ { exit } length > 64' "$work/out" | head -1)
    [ -z "$wide" ] && pass "help of '$name' on 40 columns" || fail "help of '$name' on 40 columns" "$wide"
    # shellcheck disable=SC2086
    run "$HONE" help --man $name
    if ! command -v groff >/dev/null; then
        skip "man page of '$name'" "no groff"
    elif warnings=$(groff -man -Tutf8 -ww -z "$work/out" 2>&1) && [ -z "$warnings" ]; then
        pass "man page of '$name'"
    else
        fail "man page of '$name'" "$warnings"
    fi
    [ -f "$(dirname "$HONE")/hone-${name// /-}.1" ] && pass "hone-${name// /-}.1 is built" ||
        fail "hone-${name// /-}.1 is built" "add it to src/cli/meson.build"
    # Every option of the help stands in the man page too.
    missing=
    for option in $(grep -oE '^ +(-., )?--[a-z-]+' "$work/long" | grep -oE -- '--[a-z-]+'); do
        grep -qF -- "${option//-/\\-}" "$work/out" || missing="$missing $option"
    done
    [ -z "$missing" ] && pass "man page of '$name' has every option" ||
        fail "man page of '$name' has every option" "$missing"
done < <("$HONE" help --list)

run "$HONE" help --list
first=$(head -1 "$work/out")
"$HONE" help --man "$first" >&- 2>"$work/err"
[ $? = 1 ] && grep -q 'standard output' "$work/err" && pass "closed stdout" ||
    fail "closed stdout" "$(cat "$work/err")"
expect "full disk" 1 "No space left" sh -c '"$0" help >/dev/full' "$HONE"
run sh -c '"$0" help --man | true; "$0" help | head -1' "$HONE"
[ ! -s "$work/err" ] && pass "a reader that goes away is no error message" ||
    fail "a reader that goes away is no error message" "$(cat "$work/err")"
finish

# A small harness for tests of the program: each check prints one TAP line. HONE is the program.
# A script that sources this ends with `finish`.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n_checks=0
n_failed=0
CACHE=${HONE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hone}
export HONE_WEIGHTS_CACHE_GB=0 # the person's own cache is left alone
BASE_MODEL=$CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf

pass() { n_checks=$((n_checks + 1)); echo "ok $n_checks - $1"; }
fail() {
    n_checks=$((n_checks + 1))
    n_failed=$((n_failed + 1))
    echo "not ok $n_checks - $1"
    shift
    printf '#   %s\n' "$@"
}
skip() { n_checks=$((n_checks + 1)); echo "ok $n_checks - $1 # SKIP $2"; }

# run COMMAND...: leaves the exit code in $code, and $work/out and $work/err.
run() {
    "$@" >"$work/out" 2>"$work/err" </dev/null
    code=$?
}

# expect NAME CODE REGEX COMMAND...: exit code, and an extended regex found in stdout or stderr.
expect() {
    local name=$1 wanted=$2 regex=$3
    shift 3
    run "$@"
    if [ "$code" != "$wanted" ]; then
        fail "$name" "exit $code, wanted $wanted" "$(tail -n 5 "$work/err")"
    elif [ -n "$regex" ] && ! cat "$work/out" "$work/err" | grep -qE -- "$regex"; then
        fail "$name" "no match for: $regex" "$(tail -n 5 "$work/out" "$work/err")"
    else
        pass "$name"
    fi
}

# expect_json NAME COMMAND...: exits 0 and prints one valid JSON value on stdout.
expect_json() {
    local name=$1
    shift
    run "$@"
    if [ "$code" != 0 ]; then
        fail "$name" "exit $code" "$(tail -n 5 "$work/err")"
    elif ! python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$work/out" 2>"$work/err"; then
        fail "$name" "$(tail -n 2 "$work/err")"
    else
        pass "$name"
    fi
}

finish() {
    echo "1..$n_checks"
    [ "$n_failed" = 0 ]
}

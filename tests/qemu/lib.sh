# For programs run under qemu-user: a processor older than this machine's, or another architecture.
# MODEL is the base model, or the script ends here with a skipped check.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../cli/lib.sh"
PROMPT="The capital of France is"

# needs PROGRAM NAME: skips all when the emulator isn't there.
needs() {
    command -v "$1" >/dev/null && return 0
    skip "$2" "no $1 (package qemu-user)"
    finish
    exit
}

# answer TOKENS COMMAND...: a greedy answer into $text; false and a failed check when it died.
answer() {
    local n=$1
    shift
    run "$@" chat "$BASE_MODEL" --raw -p "$PROMPT" -n "$n" -q
    text=$(cat "$work/out")
    [ "$code" = 0 ] && return 0
    fail "an answer of $*" "exit $code" "$(tail -n 5 "$work/err")"
    return 1
}

# same_answer NAME A B: the same text, or parted where two tokens are near a tie.
same_answer() {
    if python3 "$here/compare.py" texts "${HONE_NATIVE:-$HONE}" "$BASE_MODEL" "$PROMPT" "$2" "$3" >"$work/said" 2>&1
    then
        pass "$1: $(tail -n 1 "$work/said")"
    else
        fail "$1" "$(tail -n 3 "$work/said")"
    fi
}

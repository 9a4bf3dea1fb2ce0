# hone data: rows that are well, rows that aren't, copies.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
row() { printf '{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "%s"}]}\n' "$1" "$2"; }
{ row "one thing" a; row "another matter" b; row "One thing!" a; } >good.jsonl
expect "rows that are well" 0 "3 rows are well, 0 are not" "$HONE" data check good.jsonl
{ row one a; echo '{"messages": '; row two b; echo '{"what": 1}'; row three ""; } >bad.jsonl
expect "the first bad row" 3 "bad\.jsonl:2" "$HONE" data check bad.jsonl
expect "all bad rows counted" 3 "2 rows are well, 3 are not" "$HONE" data check bad.jsonl --skip-bad
expect_json "data check --json" "$HONE" data check good.jsonl --json
expect "no such file" 3 "none\.jsonl" "$HONE" data check none.jsonl
expect "a folder" 3 "" "$HONE" data check .
expect "dedupe" 0 "2 rows kept, 1 copies" "$HONE" data dedupe good.jsonl -o clean.jsonl --list
[ "$(wc -l <clean.jsonl)" = 2 ] && head -2 good.jsonl | cmp -s - clean.jsonl &&
    pass "it keeps the first ones" || fail "it keeps the first ones" "$(cat clean.jsonl)"
expect_json "dedupe --json" "$HONE" data dedupe good.jsonl --list --json
expect "one word is no command" 2 "needs a second word: check, dedupe, generate, rows, stats" "$HONE" data
expect "help lists them" 0 "data dedupe +[a-z]" "$HONE" help data
expect "and so does --help" 0 "usage: hone data COMMAND" "$HONE" data --help
expect "no such family" 2 "" "$HONE" help dat
expect "a wrong second word" 2 "did you mean 'data dedupe'" "$HONE" data dedup good.jsonl
if [ -f "$BASE_MODEL" ]; then
    expect "stats" 0 "rows +3," "$HONE" data stats "$BASE_MODEL" good.jsonl
    expect_json "stats --json" "$HONE" data stats "$BASE_MODEL" good.jsonl --json
else
    skip "stats" "the base model isn't there (scripts/get-base-model)"
fi
finish

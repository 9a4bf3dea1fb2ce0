# hone eval: scores, the probability of an answer, and answers that are too unlikely. On the real
# base model.
. "$(dirname "$0")/lib.sh"
if [ ! -f "$BASE_MODEL" ]; then
    skip "hone eval" "the base model isn't there (scripts/get-base-model)"
    finish
    exit
fi
M=$BASE_MODEL
cd "$work" || exit 1
cat >golden.jsonl <<'END'
{"prompt": "What is the capital of France?", "assert": [{"type": "regex", "value": "[a-z]"}], "slice": "easy"}
{"prompt": "Say nothing but: zxqv", "assert": [{"type": "equals", "value": "unsure"}], "slice": "hard"}
END
expect "a score" 0 "easy +1 +1\.000" "$HONE" eval "$M" golden.jsonl -n 12 --samples samples.jsonl

# What the model says within twelve tokens, asked for as a choice, is exactly as likely: the two ways
# through the program must agree.
python3 - >choices.jsonl <<'END'
import json
for line in open("samples.jsonl"):
    row = json.loads(line)
    print(json.dumps({"prompt": row["doc"]["prompt"], "assert": [
        {"type": "choice", "value": row["answer"], "choices": [row["answer"], "no"]}]}))
END
expect "its answers as choices" 0 "" "$HONE" eval "$M" choices.jsonl -n 12 --samples choice.samples.jsonl
python3 - <<'END' && pass "an answer's probability" || fail "an answer's probability"
import json, sys
read = lambda path: [json.loads(line) for line in open(path)]
pairs = list(zip(read("samples.jsonl"), read("choice.samples.jsonl")))
sys.exit(not all(abs(a["log_prob"] - b["log_probs"][0]) < 1e-3 and a["log_prob"] < 0 for a, b in pairs))
END

expect "all answers are too unlikely" 0 "hard +1 +1\.000" "$HONE" eval "$M" golden.jsonl -n 12 \
    --abstain-below 1 --abstain-as unsure --samples unsure.jsonl
[ "$(grep -c '"answer":"unsure".*"abstained":true' unsure.jsonl)" = 2 ] &&
    pass "and are replaced" || fail "and are replaced" "$(cat unsure.jsonl)"
expect "none is" 0 "hard +1 +0\.000" "$HONE" eval "$M" golden.jsonl -n 12 \
    --abstain-below 1e-300 --abstain-as unsure

# Held to a grammar or a schema: what may come, and how likely it is among that.
echo 'root ::= "unsure" | "certain"' >labels.gbnf
echo '{"enum": ["unsure"]}' >one.json
expect "labels" 0 "all +2 " "$HONE" eval "$M" golden.jsonl -n 12 --grammar labels.gbnf --samples held.jsonl
[ "$(grep -cE '"answer":"(unsure|certain)"' held.jsonl)" = 2 ] &&
    pass "and nothing else" || fail "and nothing else" "$(cat held.jsonl)"
run "$HONE" chat "$M" -p "Say nothing but: zxqv" -n 12 --grammar labels.gbnf --kv-type f32
grep -q "\"answer\":\"$(cat out)\"" held.jsonl && pass "as chat answers" || fail "as chat answers" "$(cat out)"
"$HONE" eval "$M" golden.jsonl -n 12 --json-schema one.json --samples one.jsonl -q >/dev/null 2>&1
python3 - <<'END' && pass "a schema's only text" || fail "a schema's only text" "$(cat one.jsonl)"
import json, sys
rows = [json.loads(line) for line in open("one.jsonl")]
sys.exit(not all(row["answer"] == '"unsure"' and -5 < row["log_prob"] <= 0 for row in rows))
END

# What is asserted is what follows a thought; a thought that never ends is no answer.
printf '%s\n' 'root ::= "<think>\nCertain?\n</think>\n\nunsure"' >thought.gbnf
expect "the answer behind a thought" 0 "hard +1 +1\.000" "$HONE" eval "$M" golden.jsonl -n 32 --grammar thought.gbnf \
    --samples thought.jsonl
[ "$(grep -c '"answer":"unsure".*"thought":"\\nCertain?\\n"' thought.jsonl)" = 2 ] &&
    pass "and the thought beside it" || fail "and the thought beside it" "$(cat thought.jsonl)"
expect "a thought that is cut" 0 "all +2 +0\.000" "$HONE" eval "$M" golden.jsonl -n 6 --grammar thought.gbnf
grep -q "2 answers ended within their thought" err && pass "is said" || fail "is said" "$(cat err)"

expect "a grammar and a schema" 2 "exclude each other" "$HONE" eval "$M" golden.jsonl --grammar labels.gbnf \
    --json-schema one.json
expect "no such schema" 3 "none\.json" "$HONE" eval "$M" golden.jsonl --json-schema none.json
echo '{"uniqueItems": true, "type": "array"}' >unique.json
expect "a schema that can't be honoured" 3 "unique\.json: #/uniqueItems" "$HONE" eval "$M" golden.jsonl \
    --json-schema unique.json

expect "replaced by what?" 2 "abstain-as" "$HONE" eval "$M" golden.jsonl --abstain-below 0.5
expect "replaced when?" 2 "abstain-as unsure .*--abstain-below 0\.5" "$HONE" eval "$M" golden.jsonl \
    --abstain-as unsure
expect "more than certain" 2 "abstain-below" "$HONE" eval "$M" golden.jsonl --abstain-below 1.5
finish

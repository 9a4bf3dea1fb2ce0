# What hone sft, dpo and distill say of a model while they teach it, and what they refuse to learn from. On a tiny
# golden model.
. "$(dirname "$0")/lib.sh"
models=$(cd "$(dirname "$0")/../golden/models" && pwd)
cd "$work" || exit 1
cp -r "$models/llama3" tiny
echo '{% for m in messages %}{{ m.content }}|{% endfor %}' >tiny/chat_template.jinja
for noun in cat dog sun tree bird ball car box; do
    for verb in sees wants; do
        printf '{"prompt":"Lily %s the %s","completion":"%s"}\n' "$verb" "$noun" "$noun" >>train.jsonl
    done
    printf '{"prompt":"Tom has a %s","completion":"%s"}\n' "$noun" "$noun" >>val.jsonl
    printf '{"prompt":"Tom has a %s","chosen":"%s","rejected":"a %s, it seems"}\n' "$noun" "$noun" "$noun" >>pairs.jsonl
    printf '{"prompt":"Sue has a %s","assert":[{"type":"regex","value":"^"}],"slice":"%s"}\n' "$noun" "${noun:0:1}" >>golden.jsonl
done
# has NAME FILE CONDITION: over the rows of a JSONL file, `evals` those of evaluations.
has() {
    python3 - "$2" "$3" 2>err <<'P' && pass "$1" || fail "$1" "$(tail -n 3 err)" "$(tail -n 3 "$2")"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
evals = [r for r in rows if "eval_loss" in r]
assert eval(sys.argv[2]), sys.argv[2]
P
}
few="--max-steps 4 --batch 4 --rank 2"

# ---- the golden set during training
expect "sft with a golden set" 0 "evals .*% of the time; the golden set" \
    "$HONE" sft tiny train.jsonl --eval val.jsonl --golden golden.jsonl -n 4 -o sft $few --eval-every 2
has "scored before, between and after" sft/metrics.jsonl \
    '[r["step"] for r in evals] == [0, 2, 4] and all(r["eval_golden"] == 1 and 0 < r["eval_golden_seconds"] <= r["eval_seconds"] for r in evals)'
expect "dpo with a golden set" 0 "the golden set" "$HONE" dpo tiny pairs.jsonl --eval pairs.jsonl --golden golden.jsonl \
    --golden-rows 3 -n 4 -o dpo $few
has "beside what TRL logs" dpo/metrics.jsonl 'len(evals) == 3 and all("eval_golden" in r and "eval_rewards/margins" in r for r in evals)'
expect "distill with a golden set" 0 "golden +1\.0000" "$HONE" distill tiny train.jsonl --teacher tiny --eval val.jsonl \
    --golden golden.jsonl -n 4 --best-metric golden -o kd $few
has "chosen by it" kd/metrics.jsonl 'all("eval_golden" in r for r in evals)'
expect "all weights" 0 "the golden set" "$HONE" sft tiny train.jsonl --full --eval val.jsonl --golden golden.jsonl -n 4 -o full $few
expect_json "--json" "$HONE" sft tiny train.jsonl --eval val.jsonl --golden golden.jsonl -n 4 -o json $few --json
tr -d "\n" <out >one.json
has "says what it took" one.json '0 < rows[0]["golden_seconds"] <= rows[0]["eval_seconds"]'
expect "a golden set without rows to evaluate on" 2 "the golden score is measured in evaluations" \
    "$HONE" sft tiny train.jsonl --golden golden.jsonl -o none $few
expect "rows of no golden set" 2 "golden-rows needs --golden" "$HONE" sft tiny train.jsonl --golden-rows 3 -o none $few
expect "a golden set that is none" 3 "train\.jsonl:1: unknown key 'completion'" \
    "$HONE" sft tiny train.jsonl --eval val.jsonl --golden train.jsonl -o none $few
expect "golden as the best metric without one" 2 "'golden': an evaluation here has loss" \
    "$HONE" sft tiny train.jsonl --eval val.jsonl --best-metric golden -o none $few
# What isn't chosen by it is the same with and without it.
"$HONE" sft tiny train.jsonl --eval val.jsonl -o plain $few --eval-every 2 >first 2>&1
cmp sft/adapter/adapter_model.safetensors plain/adapter/adapter_model.safetensors >differ 2>&1 &&
    pass "it changes nothing that is learned" || fail "it changes nothing that is learned" "$(cat differ)"

# ---- a pipe
expect "rows from a pipe" 3 "not a regular file, and a pipe or device can't be read twice: put its contents into a file" \
    bash -c '"$HONE" data check <(cat train.jsonl)'
mkfifo silent
expect "a pipe that nobody writes to" 3 "silent: not a regular file" timeout 20 "$HONE" data check silent
finish

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
expect "all weights" 0 "the golden set" "$HONE" sft tiny train.jsonl --full --eval val.jsonl --golden golden.jsonl -n 4 -o full --max-steps 4 --batch 4
expect_json "--json" "$HONE" sft tiny train.jsonl --eval val.jsonl --golden golden.jsonl -n 4 -o json $few --json
tr -d "\n" <out >one.json
has "says what it took" one.json '0 < rows[0]["golden_seconds"] <= rows[0]["eval_seconds"]'
expect "a golden set without rows to evaluate on" 2 "golden needs --eval" \
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

# ---- rows that can't be learned from: named by file and line before the first step, with counts
good() { printf '{"prompt":"%s","completion":"%s"}\n' "$1" "$2"; }
teach() { "$HONE" sft tiny "$1" -o none --max-steps 1 --rank 2 "${@:2}"; } # the last -o counts
{ good a b; good c " "; good d e; good f ""; } >empty.jsonl
expect "an empty completion" 3 "empty\.jsonl:2: completion is empty: .*\(2 of 4 rows are bad: lines 2, 4; --skip-bad" teach empty.jsonl
expect "is left out when asked" 0 "2 bad rows left out" teach empty.jsonl --skip-bad
{ echo '{"prompt":"a","chosen":"b","rejected":"b"}'; head -n 3 pairs.jsonl; echo '{"prompt":"a","chosen":"c","rejected":"c"}'; } >same.jsonl
expect "chosen = rejected" 3 "same\.jsonl:1: chosen and rejected are the same: .*\(2 of 5 rows are bad: lines 1, 5" \
    "$HONE" dpo tiny same.jsonl -o none
expect "is left out, too" 0 "2 bad rows left out" "$HONE" dpo tiny same.jsonl -o sieved --skip-bad --max-steps 1 --rank 2
long=$(printf 'word %.0s' $(seq 60))
{ good a b; good "$long" x; good c "$long"; good d e; good "$long" y; } >long.jsonl
expect "over-long rows, and what of them can't be learned" 0 \
    "long\.jsonl: 1 rows cut to 40 tokens \(line 3\), 2 rows dropped, because within 40 tokens nothing of them would be learned \(lines 2, 5\)" \
    teach long.jsonl --max-length 40 -o cut
{ printf '{"prompt":"%s","chosen":"x","rejected":"y"}\n' "$long"; head -n 2 pairs.jsonl; } >longpairs.jsonl
expect "over-long pairs" 0 "longpairs\.jsonl: 1 rows dropped, .*\(line 1\)" \
    "$HONE" dpo tiny longpairs.jsonl -o cutpairs --max-length 40 --max-steps 1 --rank 2
good "$long" x >all.jsonl
expect "nothing to learn in any row" 3 "all\.jsonl: no token would be learned: all 1 rows lose their completion .*raise max_length" \
    teach all.jsonl --max-length 40
cp -r tiny twice
echo '{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}|{% endfor %}' >twice/chat_template.jinja
expect "BOS twice" 3 "train\.jsonl:1: the tokens begin with BOS twice: .*\(16 of 16 rows are bad: lines 1, 2, 3, 4, 5, 6, 7, 8 and 8 more\)" \
    "$HONE" sft twice train.jsonl -o none
cp -r tiny mute
echo '{% for m in messages %}{{ m.content.split("</think>")[-1] }}|{% endfor %}' >mute/chat_template.jinja
{ good a b; echo '{"instruction":"a","thought":"hm","response":"b"}'; echo '{"instruction":"c","thought":"hm","response":"d"}'; } >thought.jsonl
expect "a template that drops the thought" 3 \
    "thought\.jsonl:2: the chat template drops the thought .*\(2 of 3 rows are bad: lines 2, 3\)" "$HONE" sft mute thought.jsonl -o none
expect "so does distill" 3 "thought\.jsonl:2: the chat template drops" "$HONE" distill mute thought.jsonl --teacher mute -o none
for n in $(seq 12); do [ $((n % 4)) = 0 ] && echo '{"what": 1}' || good "$n" a; done >some.jsonl
expect "rows of no shape" 3 "some\.jsonl:4: no training row with the keys \{what\}.*\(3 of 12 rows are bad: lines 4, 8, 12" teach some.jsonl
expect "one alone: how to go on" 3 "one\.jsonl:1: .*\(1 of 1 rows is bad; --skip-bad.* goes on without\)" \
    bash -c 'echo "{\"what\": 1}" >one.jsonl; exec "$HONE" data check one.jsonl'

# ---- a full disk keeps the last checkpoint: one finds room there, the next doesn't
disk() { umount full 2>/dev/null; mkdir -p full && mount -t tmpfs -o "size=$1" tmpfs full 2>/dev/null; }
steps="--max-steps 30 --batch 4 --rank 8 --save-every 10"
if disk 10m; then
    trap 'umount "$work/full" 2>/dev/null; rm -rf "$work"' EXIT
    for what in "sft tiny train.jsonl" "dpo tiny pairs.jsonl" "distill tiny train.jsonl --teacher tiny"; do
        name=${what%% *}
        rm -rf room && "$HONE" $what -o room $steps >first 2>&1
        size=$(stat -c %s room/checkpoint)
        disk $((size * 3 / 2 + 16384))
        expect "$name on a full disk" 3 "checkpoint.*No space left on device.*free some space" "$HONE" $what -o full/run $steps
        mount -o remount,size=10m full
        expect "$name goes on from the checkpoint before" 0 "going on after step 10 of 30" "$HONE" $what -o full/run $steps
        cmp full/run/adapter/adapter_model.safetensors room/adapter/adapter_model.safetensors >differ 2>&1 &&
            pass "$name ends with the same adapter" || fail "$name ends with the same adapter" "$(cat differ)"
    done
    umount full
else
    skip "a full disk" "no right to mount a small file system"
fi

# ---- a pipe
expect "rows from a pipe" 3 "not a regular file, and a pipe or device can't be read twice: put its contents into a file" \
    bash -c '"$HONE" data check <(cat train.jsonl)'
mkfifo silent
expect "a pipe that nobody writes to" 3 "silent: not a regular file" timeout 20 "$HONE" data check silent
finish

# A recipe whose rows a teacher writes: generate, sft, kd, rkd, dpo, against a local endpoint, on a tiny model.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/teacher.sh"
cp -r "$here/../golden/models/llama3" tiny
echo '{% for m in messages %}{{ m.content }}|{% endfor %}' >tiny/chat_template.jinja
prompts one two three four >prompts.jsonl
for noun in cat dog sun; do
    printf '{"prompt":"Lily sees the %s","completion":"%s"}\n' "$noun" "$noun" >>train.jsonl
    printf '{"prompt":"Sue has a %s","assert":[{"type":"regex","value":"^"}]}\n' "$noun" >>golden.jsonl
done
# recipe URL KEYS: the keys are of generate.
recipe() {
    cat <<END
name: taught
base: tiny
data: {train: train.jsonl, golden: golden.jsonl}
generate: {prompts: prompts.jsonl, endpoint: '$1', model: m, for_sft: true, for_rkd: true, for_dpo: true,
  hard_negatives: true, key_env: A_KEY, $2}
sft: {rank: 2, max_steps: 2, batch: 4}
kd: {teacher: tiny, max_steps: 2, batch: 4, on_policy: 0.5, sample_tokens: 4}
rkd: {max_steps: 1, batch: 4}
dpo: {max_steps: 1, batch: 4}
artefacts: [{name: beside, kind: adapter}]
eval: {max_tokens: 4, kl_chunks: 0, bench: false}
gate: {max_stage_drop: 1, max_quality_drop: 1}
END
}
asked() { [ ! -f "$requests" ] && echo 0 || wc -l <"$requests"; }
# counts NAME N: so many questions since the last look.
counts() {
    [ "$(asked)" = "$2" ] && pass "$1" || fail "$1" "$(asked) questions, wanted $2"
    : >"$requests"
}
export A_KEY=sk-secret-123
recipe "$url" "" >recipe.yaml
expect "rows from a teacher, then four stages" 0 "4 rows for dpo from 4 prompts" "$HONE" run recipe.yaml -o run
counts "four answers and four wrong ones are asked for" 8
python3 - run <<'P' >first 2>&1 && pass "each stage has its rows" || fail "each stage has its rows" "$(tail -n 3 first)"
import json, glob, sys
summary = json.load(open(sys.argv[1] + "/run.json"))["summary"]
assert [r["name"] for r in summary["rows"]] == ["base", "sft", "kd", "rkd", "dpo", "beside"], summary["rows"]
rows = lambda name: [json.loads(l) for l in open(glob.glob(sys.argv[1] + "/stages/data-*/" + name)[0])]
assert len(rows("train.jsonl")) == 7 and len(rows("rkd-train.jsonl")) == 4 and len(rows("dpo-train.jsonl")) == 4
assert rows("kd-train.jsonl") == rows("train.jsonl")
assert all(r["thought"] for r in rows("rkd-train.jsonl"))
metrics = [json.loads(l) for l in open(sys.argv[1] + "/metrics-kd.jsonl")]
assert all("kd" in m for m in metrics if "loss" in m), metrics
P
grep -rq secret run && fail "the key is nowhere" "$(grep -rl secret run)" || pass "the key is nowhere"
expect "a second run asks nothing" 0 "generate: as before" "$HONE" run recipe.yaml -o run
counts "nothing at all" 0
sed -i 's/rank: 2/rank: 4/' recipe.yaml
expect "another rank teaches again and asks nothing" 0 "generate: as before" "$HONE" run recipe.yaml -o run
counts "nothing again" 0
prompts one five three four >prompts.jsonl
expect "another prompt" 0 "4 rows for rkd from 4 prompts" "$HONE" run recipe.yaml -o run
counts "costs its own questions" 2
grep -q '"two"' run/stages/data-*/rkd-train.jsonl && grep -q '"five"' run/stages/data-*/rkd-train.jsonl &&
    ! grep -l '"five"' run/stages/data-*/rkd-train.jsonl | xargs grep -q '"two"' && pass "what is no longer asked is left out" ||
    fail "what is no longer asked is left out"
expect "a longer thought than is allowed" 3 "generate: rows for sft: no rows of" \
    bash -c 'sed "s/key_env: A_KEY, /&max_field_tokens: 1, /" recipe.yaml >short.yaml; exec "$HONE" run short.yaml -o short'
: >"$requests"

# ---- a budget
recipe "$url" "max_total_tokens: 700" >small.yaml
expect "a budget that ends" 1 "budget ended with [0-9]+ questions not asked.*raise max_total_tokens" "$HONE" run small.yaml -o paid
first=$(asked)
recipe "$url" "max_total_tokens: 90000" >large.yaml
expect "a larger one goes on" 0 "4 rows for dpo" "$HONE" run large.yaml -o paid
counts "from what the smaller one paid for" 8
[ "$first" -ge 1 ] && [ "$first" -lt 8 ] && pass "some had been asked" || fail "some had been asked" "$first"
recipe "$url" "max_total_tokens: 700, allow_partial: true, hard_negatives: false, for_dpo: false" |
    sed 's/^dpo:.*//; s/for_dpo: true,//; s/hard_negatives: true, //' >partial.yaml
expect "or what there is is enough" 0 "rows for rkd from" "$HONE" run partial.yaml -o partial

# ---- failures
recipe http://127.0.0.1:9/v1 "retries: 0" >nobody.yaml
expect "nobody there" 3 "doesn't answer" "$HONE" run nobody.yaml -o nobody
expect "no key" 2 "key_env takes the name of an environment variable" env -u A_KEY "$HONE" run recipe.yaml -o keyless
prompts impossible possible >prompts.jsonl
expect "a question that gets no answer" 3 "1 questions got no answer; what has come stays" "$HONE" run recipe.yaml -o failing
echo '{"what": 1}' >prompts.jsonl
expect "a bad prompt" 3 "prompts\.jsonl:1" "$HONE" run recipe.yaml -o bad
prompts one two >prompts.jsonl
sed "s/endpoint: '[^']*', model: m/teacher: tiny, plain: true, max_tokens: 4/; s/key_env: A_KEY, //; s/for_rkd: true, for_dpo: true,//; s/hard_negatives: true, //; /^rkd:/d; /^dpo:/d" recipe.yaml >local.yaml
: >"$requests"
expect "a model on this machine that never ends" 3 "generate: rows for sft: no rows of" "$HONE" run local.yaml -o local
counts "asks nobody else" 0
expect "the keys are listed" 0 "generate\.allow_partial +boolean" "$HONE" run --keys
expect "kd's too" 0 "kd\.teacher_logits +file" "$HONE" run --keys

# ---- kd from a file of distributions, and by chosen layers
small() { # KEYS of kd
    printf 'name: kd\nbase: tiny\ndata: {train: train.jsonl, golden: golden.jsonl, eval_share: 0.34}\nsft: {rank: 2, max_steps: 1}\n'
    printf 'kd: {max_steps: 2, golden_rows: 0, %s}\nartefacts: [{name: beside, kind: adapter}]\n' "$1"
    printf 'eval: {max_tokens: 4, kl_chunks: 0, bench: false}\ngate: {max_stage_drop: 1, max_quality_drop: 1}\n'
}
run "$HONE" distill store tiny train.jsonl --top 8 -T 3 -o teacher.kd
small "teacher_logits: teacher.kd, temperature: 3" >stored.yaml
expect "kd from stored logits" 0 "kd: done" "$HONE" run stored.yaml -o stored
grep -q '"kd"' stored/metrics-kd.jsonl && pass "its loss has the divergence" || fail "its loss has the divergence" "$(cat stored/metrics-kd.jsonl)"
run "$HONE" distill store tiny train.jsonl --top 9 -T 3 -o teacher.kd
expect "another file teaches again" 0 "kd: done" "$HONE" run stored.yaml -o stored
small "teacher_logits: teacher.kd" >stored.yaml
expect "of another temperature" 3 "stored.yaml:5:5: 'teacher_logits' were stored at temperature 3" "$HONE" run stored.yaml -o cold
small "teacher_logits: train.jsonl" >stored.yaml
expect "no such file" 3 "train.jsonl" "$HONE" run stored.yaml -o cold
[ ! -e cold ] && pass "is known before anything is taught" || fail "is known before anything is taught" "$(ls cold)"
for layers in 1:2,2:2 2:1; do
    small "teacher: tiny, hidden: 0.5, hidden_layers: '$layers'" >layers.yaml
    expect "hidden states of layers $layers" 0 "kd: done" "$HONE" run layers.yaml -o layers
    python3 -c 'import json, sys; print(*(r["hidden"] for r in map(json.loads, sys.stdin) if "loss" in r))' <layers/metrics-kd.jsonl >hidden.$layers
done
cmp -s hidden.1:2,2:2 hidden.2:1 && fail "each has its own term" "$(cat hidden.2:1)" || pass "each has its own term"
exec 9>&-
wait
finish

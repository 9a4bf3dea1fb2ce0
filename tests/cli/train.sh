# Training from the command line: what --numerics takes, and that training in a type's numerics is training on its file.
. "$(dirname "$0")/lib.sh"
models=$(cd "$(dirname "$0")/../golden/models" && pwd)
bench=$(cd "$(dirname "$0")/../../bench/quantisation" && pwd)
cd "$work" || exit 1
for i in 1 2 3 4 5 6 7 8; do
    printf '{"prompt":"Lily sees %s, ","completion":"she has %s."}\n' "$i" "$((i * i))"
done >train.jsonl
printf '{"prompt":"Lily sees 3, ","chosen":"she has 9.","rejected":"she has 8."}\n' >pairs.jsonl
expect "a base in f32" 0 "" "$HONE" bench --shape stories260k --type f32 --write base.gguf -p 1 -n 0 -r 1 --no-limits

how=(--rank 4 --batch 4 --max-steps 3 --learning-rate 1e-2 --max-length 64)
for type in q4_0 q4_1 q8_0 q4_k; do
    "$HONE" quantize base.gguf --type $type --calibration none -o $type.gguf >log 2>&1 || fail "$type" "$(tail -n 3 log)"
    expect "sft --numerics $type" 0 "adapter" "$HONE" sft base.gguf train.jsonl "${how[@]}" --numerics $type -o $type.memory
    expect "sft on the file of $type" 0 "adapter" "$HONE" sft $type.gguf train.jsonl "${how[@]}" --numerics int8 -o $type.file
    cmp -s $type.memory/adapter/adapter_model.safetensors $type.file/adapter/adapter_model.safetensors &&
        pass "both teach the same, to the byte ($type)" || fail "both teach the same, to the byte ($type)"
done
cmp -s q4_0.memory/adapter/adapter_model.safetensors q4_1.memory/adapter/adapter_model.safetensors &&
    fail "another type teaches something else" || pass "another type teaches something else"
expect "dpo has it too" 0 "adapter" "$HONE" dpo base.gguf pairs.jsonl --rank 4 --batch 1 --max-steps 1 --numerics q5_0 -o dpo
expect "and distill" 0 "adapter" "$HONE" distill base.gguf train.jsonl --teacher base.gguf "${how[@]}" --numerics q6_k -o kd
expect "a checkpoint of another type's numerics isn't gone on from" 2 "run with other data, options or base" \
    "$HONE" sft base.gguf train.jsonl "${how[@]}" --max-steps 6 --numerics q8_0 -o q4_0.memory

expect "a type that nothing is quantised to" 2 "--numerics: 'q3_k' is none of f32.int8.*q4_0" \
    "$HONE" sft base.gguf train.jsonl --numerics q3_k -o no
expect "all weights can't be trained rounded" 2 "--numerics q4_0 rounds the weights that --full trains" \
    "$HONE" sft base.gguf train.jsonl --full --numerics q4_0 -o no
[ ! -e no ] && pass "what is refused leaves nothing" || fail "what is refused leaves nothing" "$(ls no)"

for i in 1 2 3; do cat train.jsonl; done >rows.jsonl
q4=("$HONE" quantize base.gguf --type q4_0 -o q.gguf)
expect "quantize on rows and on what the model writes" 0 "q.gguf" "${q4[@]}" --calibration rows.jsonl --calibration self
cp q.gguf both.gguf
expect "on rows alone" 0 "q.gguf" "${q4[@]}" --calibration rows.jsonl
cmp -s q.gguf both.gguf && fail "they differ" || pass "they differ"
expect "one file of data is taken" 2 "--calibration train.jsonl: one file is taken, and self beside it" \
    "${q4[@]}" --calibration rows.jsonl --calibration train.jsonl
expect "none and something is nonsense" 2 "--calibration none: one file" "${q4[@]}" --calibration self --calibration none

for i in 1 2 3; do printf '{"prompt":"Tom sees %s","assert":[{"type":"icontains","value":"x"}]}\n' $i; done >golden.jsonl
recipe() { # NUMERICS
    cat >recipe.yaml <<END
name: tiny
base: tiny
data: {train: train.jsonl, golden: golden.jsonl, near_copy: 0}
sft: {rank: 4, batch: 4, max_steps: 2, max_length: 64, numerics: $1}
artefacts:
  - {name: beside, kind: adapter}
eval: {max_tokens: 2, kl_chunks: 0, bench: false}
gate: {max_quality_drop: 1}
END
}
cp -r "$models/llama3" tiny
echo '{% for m in messages %}{{ m.content }}|{% endfor %}' >tiny/chat_template.jinja
recipe q3_k
expect "a recipe names the types" 3 "recipe.yaml:4.*numerics.*f32.int8.q8_0.*q4_0" "$HONE" run recipe.yaml
recipe q4_0
run "$HONE" run recipe.yaml -o trained
ls trained/stages/sft-*/adapter/adapter_model.safetensors >/dev/null 2>&1 && pass "and its stage trains in them" || fail "and its stage trains in them"

# ---- bench/quantisation/keeps-what-was-taught, on a model whose answers mean nothing
for i in 1 2 3 4 5; do
    printf '{"prompt":"Tom sees %s","assert":[{"type":"icontains","value":"a"}],"slice":"in_scope"}\n' $i
    printf '{"prompt":"Who sees %s","assert":[{"type":"icontains","value":"e"}],"slice":"out_of_scope"}\n' $i
done >sets.jsonl
keeps=("$bench/keeps-what-was-taught" --hone "$HONE" --base tiny --adapter "$models/llama3_lora" --rows rows.jsonl
    --golden sets.jsonl --out kept --types "q4_0 q8_0" --ways "searched self" --every 2 --tokens 4)
expect "keeps-what-was-taught" 0 "^\| self.q4_0 \| [0-9,]+ \| [01].[0-9]{4} \|" "${keeps[@]}"
[ "$(wc -l <kept/float.2.jsonl)" = 8 ] && pass "each second row in scope and all out of scope" ||
    fail "each second row in scope and all out of scope" "$(wc -l kept/float.2.jsonl)"
cp "$work/out" table
expect "a second call only prints" 0 "" "${keeps[@]}"
grep -q '^+' "$work/err" && fail "and does nothing else" "$(head -n 2 "$work/err")" || pass "and does nothing else"
cmp -s table "$work/out" && pass "the same table" || fail "the same table"
cat >recipe.yaml <<END
name: tiny
base: tiny
data: {train: rows.jsonl, golden: sets.jsonl, near_copy: 0}
sft: {rank: 4, batch: 8, max_steps: 2, max_length: 64, numerics: q5_1}
artefacts:
  - {name: merged, type: q4_0, calibration: train+self, allow_lost_adapter: true}
  - {name: as-it-comes, type: q4_0, allow_lost_adapter: true}
eval: {max_tokens: 2, kl_chunks: 0, bench: false}
gate: {max_quality_drop: 1}
END
expect "a recipe calibrates on its rows and the model's own text" 0 "merged +both/artefacts/merged/model.gguf" \
    "$HONE" run recipe.yaml -o both
cmp -s both/artefacts/merged/model.gguf both/artefacts/as-it-comes/model.gguf &&
    pass "which is what 4 bits get unless told otherwise" || fail "which is what 4 bits get unless told otherwise"
expect "an unknown way" 2 "unknown way best" "${keeps[@]}" --ways best
expect "an option that is missing" 2 "--golden is needed" "$bench/keeps-what-was-taught" --base b --adapter a --rows r --out o
finish

# What an interrupted or refused command leaves behind: full disk, no right to write, Ctrl-C. On the tiny
# golden models; only what must take a while runs on the real one.
. "$(dirname "$0")/lib.sh"
models=$(cd "$(dirname "$0")/../golden/models" && pwd)
cd "$work" || exit 1
cp -r "$models/llama3" tiny
cp -r "$models/llama3_lora" lora
echo '{% for m in messages %}{{ m.content }}|{% endfor %}' >tiny/chat_template.jinja
rows() {
    local verb noun
    for verb in sees wants likes finds loses; do
        for noun in cat dog sun tree bird ball car box; do
            printf '{"messages":[{"role":"user","content":"Lily %s the %s"},' "$verb" "$noun"
            printf '{"role":"assistant","content":"%s"}]}\n' "$noun"
        done
    done
}
rows >train.jsonl
for noun in cat dog sun tree bird ball car box; do
    printf '{"prompt":"Tom has a %s","assert":[{"type":"equals","value":"%s"}]}\n' "$noun" "$noun"
done >golden.jsonl
cat >recipe.yaml <<'END'
name: tiny
base: tiny
data: {train: train.jsonl, golden: golden.jsonl}
sft: {rank: 4, epochs: 10, batch: 4, learning_rate: 1e-2, save_every: 20, max_length: 64}
artefacts:
  - {name: beside, kind: adapter}
eval: {max_tokens: 4, kl_chunks: 0}
gate: {max_quality_drop: 1}
END

# clean NAME FOLDER: no temporary file or folder is left below it.
clean() {
    local left
    left=$(find "$2" -name '*.tmp-*' 2>&1)
    [ -z "$left" ] && pass "$1: nothing half-written is left" || fail "$1: nothing half-written is left" "$left"
}
same() { diff -r "$2" "$3" >differ 2>&1 && pass "$1" || fail "$1" "$(head -n 3 differ)"; }

# ---- a full disk
disk() { umount full 2>/dev/null; mkdir -p full && mount -t tmpfs -o "size=$1" tmpfs full 2>/dev/null; }
room='No space left on device.*free some space'
if disk 100k; then
    trap 'umount "$work/full" 2>/dev/null; rm -rf "$work"' EXIT
    "$HONE" quantize tiny --type q8_0 -o full/model.gguf >first 2>&1
    cp full/model.gguf old.gguf
    expect "quantize on a full disk" 3 "$room" "$HONE" quantize tiny --type f32 -o full/model.gguf
    same "quantize on a full disk: the old file stays" full/model.gguf old.gguf
    clean "quantize on a full disk" full
    expect "merge to a GGUF on a full disk" 3 "$room" "$HONE" merge tiny lora --type f32 -o full/model.gguf
    same "merge to a GGUF on a full disk: the old file stays" full/model.gguf old.gguf
    disk 120k
    "$HONE" merge tiny lora --type bf16 -o full/model >first 2>&1
    cp -r full/model old
    expect "merge on a full disk" 3 "$room" "$HONE" merge tiny lora --type f32 -o full/model
    same "merge on a full disk: the old folder stays" full/model old
    expect "and opens" 0 "" "$HONE" info full/model
    expect "merge to a new folder on a full disk" 3 "$room" "$HONE" merge tiny lora --type f32 -o full/new
    [ ! -e full/new ] && pass "no folder is left" || fail "no folder is left" "$(ls -a full/new)"
    clean "merge on a full disk" full
    disk 48k
    expect "sft: no room for a checkpoint" 3 "checkpoint.*$room" \
        "$HONE" sft tiny train.jsonl -o full/run --rank 8 --max-steps 20 --save-every 10
    clean "sft on a full disk" full
    [ ! -e full/run/adapter ] && pass "sft on a full disk: no adapter" || fail "sft on a full disk: no adapter"
    mount -o remount,size=10m full
    expect "sft: with room it goes on" 0 "adapter" \
        "$HONE" sft tiny train.jsonl -o full/run --rank 8 --max-steps 20 --save-every 10
    disk 64k
    expect "run on a full disk" 3 "$room" "$HONE" run recipe.yaml -o full/run
    clean "run on a full disk" full
    mount -o remount,size=10m full
    expect "run: with room it goes on" 0 "verdict" "$HONE" run recipe.yaml -o full/run
    umount full
else
    skip "a full disk" "no right to mount a small file system"
fi

# ---- no right to write
mkdir closed && echo old >closed/model.gguf
cp "$HONE" hone
chmod -R go+rX .
chmod 755 "$work" hone
chmod 555 closed
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
rights='Permission denied.*(change its rights|name another place)'
if "${as[@]}" ./hone --version >first 2>&1; then
    expect "quantize without the right" 3 "$rights" "${as[@]}" ./hone quantize tiny --type q8_0 -o closed/model.gguf
    expect "merge without the right" 3 "$rights" "${as[@]}" ./hone merge tiny lora -o closed/model
    expect "sft without the right" 3 "$rights" "${as[@]}" ./hone sft tiny train.jsonl -o closed/run
    expect "run without the right" 3 "$rights" "${as[@]}" ./hone run recipe.yaml -o closed/run
    expect "logits without the right" 3 "$rights" "${as[@]}" ./hone logits tiny cat -o closed/l.npy
    expect "eval without the right" 3 "$rights" "${as[@]}" ./hone eval tiny golden.jsonl --max-tokens 4 --results closed/result.json
    chmod 000 train.jsonl
    expect "rows that may not be read" 3 "train.jsonl: Permission denied" "${as[@]}" ./hone data check train.jsonl
    chmod 644 train.jsonl
    mkdir -m 000 shut
    expect "a folder that may not be read" 3 "shut/config.json: Permission denied" "${as[@]}" ./hone info shut
    [ "$(ls closed)" = model.gguf ] && [ "$(cat closed/model.gguf)" = old ] && pass "nothing changed" ||
        fail "nothing changed" "$(ls closed)"
else
    skip "no right to write" "the program can't be run as another user here: $(head -n 1 first)"
fi
chmod 755 closed
expect "a folder where a file should be" 3 "closed: is a directory" "$HONE" quantize tiny -o closed
expect "a file where a folder should be" 3 "not a directory|Not a directory" "$HONE" merge tiny lora -o closed/model.gguf/x

expect "no folder for the output" 3 "no folder absent/deep; make it first: mkdir -p absent/deep$" \
    "$HONE" quantize tiny --type q8_0 -o absent/deep/model.gguf
expect "and that before calibrating" 3 "no folder absent" \
    "$HONE" quantize tiny --type q4_0 --calibration train.jsonl -o absent/model.gguf
grep -q calibra err && fail "nothing was calibrated" "$(cat err)" || pass "nothing was calibrated"
expect "nor for the samples" 3 "no folder absent; make it first: mkdir -p absent$" \
    "$HONE" eval tiny golden.jsonl -n 4 --samples absent/samples.jsonl
for command in "quantize tiny" "merge tiny lora" "export tiny" "student new --from tiny" "distill store tiny train.jsonl"; do
    expect "$command: an output without a name" 2 "--output is empty" "$HONE" $command -o ""
done
expect "eval: samples without a name" 3 "name of the file to write is empty" "$HONE" eval tiny golden.jsonl -n 4 --samples ""
[ ! -e absent ] && pass "none is made" || fail "none is made" "$(ls absent)"

# ---- one thing in another's place
mkdir hollow && : >empty && printf '%0253d' 0 >short.txt
"$HONE" export tiny --adapter lora -o lora.gguf >first 2>&1
"$HONE" quantize tiny --type q8_0 -o tiny.gguf >first 2>&1
expect "an adapter folder as a model" 3 "lora is a LoRA adapter, no model: name the model" "$HONE" info lora
expect "an adapter's GGUF as a model" 3 "lora.gguf is a LoRA adapter, no model" "$HONE" sft lora.gguf train.jsonl -o out.d
expect "a model folder as an adapter" 3 "tiny is no LoRA adapter: neither a folder with adapter_config" \
    "$HONE" merge tiny tiny -o out.d
expect "a model's GGUF as an adapter" 3 "tiny.gguf is no LoRA adapter" "$HONE" merge tiny tiny.gguf -o out.d
expect "rows as an adapter" 3 "train.jsonl is no LoRA adapter" "$HONE" chat tiny --adapter train.jsonl -p hi
expect "rows as a model" 3 "train.jsonl: not a GGUF file; models and adapters are" "$HONE" info train.jsonl
expect "an empty file as a model" 3 "empty: an empty file" "$HONE" info empty
expect "an empty folder as a model" 3 "hollow has no config.json: a model is" "$HONE" info hollow
expect "rows that are no preferences" 3 "train.jsonl:1: a preference is {prompt, chosen, rejected}" \
    "$HONE" dpo tiny train.jsonl -o out.d
echo '{"prompt": "a", "chosen": "b", "rejected": "b"}' >same.jsonl
expect "nothing to prefer" 3 "same.jsonl:1: chosen and rejected are the same" "$HONE" dpo tiny same.jsonl -o out.d
expect "no teacher" 2 "name a teacher, with either --teacher or" "$HONE" distill tiny train.jsonl -o out.d
expect "a teacher and its file" 2 "name a teacher, with either --teacher or" \
    "$HONE" distill tiny train.jsonl --teacher tiny --teacher-logits teacher.kd -o out.d
expect "rows as a teacher's file" 3 "train.jsonl: no file of a teacher's distributions" \
    "$HONE" distill tiny train.jsonl --teacher-logits train.jsonl -o out.d
expect "layers that are no pairs" 2 "'2:4,x' is no list of" \
    "$HONE" distill tiny train.jsonl --teacher tiny --hidden 1 --hidden-layers 2:4,x -o out.d
expect "layers that aren't there" 2 "layers 2:99: the student has 1 to" \
    "$HONE" distill tiny train.jsonl --teacher tiny --hidden 1 --hidden-layers 2:99 -o out.d
expect "distill: layers that nothing is asked of" 2 "--hidden-layers needs --hidden" \
    "$HONE" distill tiny train.jsonl --teacher tiny --hidden-layers 1:1 -o out.d
expect "distill: layers at no weight" 2 "--hidden-layers would do nothing: --hidden is 0" \
    "$HONE" distill tiny train.jsonl --teacher tiny --hidden 0 --hidden-layers 1:1 -o out.d
expect "a student of nobody" 2 "from is missing: the teacher" "$HONE" student new -o out.d
expect "a student larger than its teacher" 2 "99 layers: the teacher has" "$HONE" student new --from tiny --layers 99 -o out.d
expect "weights without number" 2 "1 numbers are needed" "$HONE" merge tiny lora -w x -o out.d
expect "fewer weights than adapters" 2 "2 numbers are needed" "$HONE" merge tiny lora lora -w 0.5 -o out.d
expect "measuring what isn't written" 2 "with --as-adapter none is written" \
    "$HONE" merge tiny lora --as-adapter --text train.jsonl -o out.d
expect "rank 8 of all weights" 2 "--rank does nothing beside --full" "$HONE" sft tiny train.jsonl --full -r 8 -o out.d
expect "another shape for an adapter that is there" 2 "--dora does nothing beside --init-adapter" \
    "$HONE" dpo tiny train.jsonl --init-adapter lora --dora -o out.d
expect "a share of no rows" 2 "--replay-share needs --replay" "$HONE" sft tiny train.jsonl --replay-share 0.5 -o out.d
expect "to stop early by nothing" 2 "--early-stop needs --eval" "$HONE" sft tiny train.jsonl --early-stop 2 -o out.d
expect "the best of no evaluations" 2 "--best-metric needs --eval" "$HONE" dpo tiny train.jsonl --best-metric loss -o out.d
expect "samples that nobody draws" 2 "--sample-tokens needs --on-policy" \
    "$HONE" distill tiny train.jsonl --teacher tiny --sample-tokens 4 -o out.d
expect "numerics of a file" 2 "--teacher-numerics does nothing beside --teacher-logits" \
    "$HONE" distill tiny train.jsonl --teacher-logits a.kd --teacher-numerics f32 -o out.d
expect "a text too short to measure by" 3 "25[0-9] tokens, one chunk takes 512: give more text" \
    "$HONE" merge tiny lora --text short.txt -o out.d
expect "a sum of adapters that overflows" 2 "layer 0 q_proj: with these weights the sum is no finite number" \
    "$HONE" merge tiny lora lora -w 3e38,3e38 --as-adapter -o out.d
expect "a model as rows" 3 "tiny.gguf: a GGUF file where rows of JSON belong" "$HONE" sft tiny tiny.gguf -o out.d
expect "a model as a golden set" 3 "tiny.gguf: a GGUF file where rows" "$HONE" eval tiny tiny.gguf
expect "a folder as rows" 3 "hollow: not a regular file but a directory" "$HONE" data check hollow
expect "an empty file as rows" 3 "empty: no row: the file is empty" "$HONE" data check empty
expect "an empty file as samples" 3 "empty: no samples: hone eval --samples" "$HONE" gate empty empty
expect "golden rows as samples" 3 "golden.jsonl.*hone eval --samples wrote" "$HONE" gate golden.jsonl golden.jsonl
expect "an empty text" 3 "0 tokens, one chunk takes 512: give more text" "$HONE" perplexity tiny empty
[ ! -e out.d ] && pass "nothing was begun" || fail "nothing was begun" "$(ls out.d)"

# ---- a folder that another run has begun, or that has no room for what is learned
for noun in cat dog; do printf '{"prompt":"a %s","chosen":"the %s","rejected":"no"}\n' $noun $noun; done >pairs.jsonl
run "$HONE" sft tiny train.jsonl -o begun --max-steps 2 --max-length 64
other='begun/checkpoint: the checkpoint belongs to a run with other data'
head -n 3 train.jsonl >three.jsonl
expect "other rows" 2 "$other" "$HONE" sft tiny three.jsonl -o begun --max-steps 2 --max-length 64
expect "more steps" 2 "$other" "$HONE" sft tiny train.jsonl -o begun --max-steps 4 --max-length 64
expect "another seed" 2 "$other" "$HONE" sft tiny train.jsonl -o begun --max-steps 2 --max-length 64 --seed 7
expect "another loss" 2 "$other" "$HONE" dpo tiny pairs.jsonl -o begun --max-steps 2
! grep -q reference err && [ ! -e begun/references ] && pass "that before references are computed" ||
    fail "that before references are computed" "$(cat err)" "$(ls begun)"
expect "the same again" 0 "" "$HONE" sft tiny train.jsonl -o begun --max-steps 2 --max-length 64
head -c 100 begun/checkpoint >cut && cp cut begun/checkpoint
expect "a checkpoint that was cut" 3 "begun/checkpoint: no training checkpoint" "$HONE" sft tiny train.jsonl -o begun --max-steps 2 --max-length 64
rm -rf begun && mkdir begun && echo mine >begun/adapter
expect "a file in the adapter's place" 3 "begun/adapter: exists and is not a directory" "$HONE" sft tiny train.jsonl -o begun --max-steps 2
[ "$(ls begun)" = adapter ] && pass "that before the first step" || fail "that before the first step" "$(ls begun)"
for i in $(seq 3000); do echo '{"prompt":"a","completion":"b"}'; done >many.jsonl
expect "more steps than can be counted" 2 "(1e\+06|999999) epochs of 3000 steps: at most 2147483647" \
    "$HONE" sft tiny many.jsonl -o begun2 --epochs 999999 --batch 1 --max-length 16

"$HONE" sft tiny train.jsonl -o busy --epochs 100000 >out 2>err &
pid=$!
while kill -0 $pid 2>/dev/null && [ ! -s busy/metrics.jsonl ]; do sleep 0.02; done
expect "a folder that another training is at work in" 1 "busy: another training is at work there: wait for it" \
    "$HONE" sft tiny train.jsonl -o busy --epochs 100000
kill -INT $pid
wait $pid
expect "the lock goes with its process" 0 "" "$HONE" sft tiny train.jsonl -o busy --max-steps 1 --restart

# ---- what is read isn't written over
cp -r tiny before && cp tiny.gguf before.gguf && cp -r lora before.lora && ln -s tiny linked && cp train.jsonl before.jsonl
for command in "merge tiny lora -o tiny" "merge tiny lora -o linked" "merge linked lora -o ./tiny/" "merge tiny lora -o lora" \
    "merge tiny lora -w 0.5 --as-adapter -o lora" "merge tiny.gguf lora -o tiny.gguf" "export tiny -o tiny" \
    "export tiny --adapter lora -o lora" "quantize tiny.gguf -o tiny.gguf" "student new --from tiny --layers 1 -o tiny" \
    "distill store tiny train.jsonl -o train.jsonl"; do
    expect "hone $command" 2 "is what is read, which would be lost: name another place" "$HONE" $command
done
mkdir full.d && cp -r tiny full.d/model
expect "all weights over the base" 2 "full.d/model is what is read" "$HONE" sft full.d/model train.jsonl --full -o full.d
rm -rf full.d
for at in "tiny before" "tiny.gguf before.gguf" "lora before.lora" "train.jsonl before.jsonl"; do
    same "${at% *} is as before" $at
done

# ---- numbers out of range
cp -r lora huge && python3 - huge/adapter_model.safetensors <<'END'
import struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
start = 8 + struct.unpack("<Q", data[:8])[0]
data[start:] = struct.pack("<f", 3e38) * ((len(data) - start) // 4)
open(sys.argv[1], "wb").write(data)
END
expect "chat with an adapter that overflows" 1 "logits are NaN: its weights, or those of its adapter" "$HONE" chat tiny --raw -p abc -n 3 --adapter huge
expect "eval with it" 1 "logits are NaN" "$HONE" eval tiny golden.jsonl -n 3 --adapter huge
expect "going on from it" 1 "step 1: loss NaN.*Nothing was learned yet: the base, the adapter that it starts from" \
    "$HONE" sft tiny train.jsonl --init-adapter huge --max-steps 2 -o from.huge

# ---- merging over another model leaves nothing of it
mkdir over && echo mine >over/notes.txt && echo '{}' >over/model.safetensors.index.json
echo '{"model_type": "old"}' >over/config.json
expect "merge over another model" 0 "" "$HONE" merge tiny lora -o over
[ ! -e over/model.safetensors.index.json ] && [ "$(cat over/notes.txt)" = mine ] &&
    "$HONE" info over >first 2>&1 && pass "its weights are gone, other files stay" ||
    fail "its weights are gone, other files stay" "$(ls over)"

# ---- Ctrl-C
# interrupt NAME WAIT-FOR COMMAND...: Ctrl-C as soon as a file of that pattern is there; code in $code.
interrupt() {
    local name=$1 pattern=$2 pid
    shift 2
    "$@" >out 2>err &
    pid=$!
    while kill -0 "$pid" 2>/dev/null && ! compgen -G "$pattern" >first; do sleep 0.02; done
    kill -INT "$pid" 2>/dev/null
    wait "$pid"
    code=$?
    if [ "$code" = 130 ] && grep -q 'stopped\|cancelled' err; then
        pass "Ctrl-C: $name"
    elif [ "$code" = 0 ]; then
        skip "Ctrl-C: $name" "it was done before the signal came"
    else
        fail "Ctrl-C: $name" "exit $code" "$(tail -n 3 err)"
    fi
}
"$HONE" run recipe.yaml -o whole >first 2>&1
interrupt "run" 'torn/stages/sft-*.part' "$HONE" run recipe.yaml -o torn
[ -z "$(find torn -name '*.tmp-*')" ] && pass "Ctrl-C in a run: nothing half-written" ||
    fail "Ctrl-C in a run: nothing half-written" "$(find torn -name '*.tmp-*')"
expect "the run goes on" 0 "verdict" "$HONE" run recipe.yaml -o torn
same "to the same adapter" whole/artefacts/beside/adapter.gguf torn/artefacts/beside/adapter.gguf
mkdir sig
interrupt "sft" 'sig/run/metrics.jsonl' "$HONE" sft tiny train.jsonl -o sig/run --epochs 2000
clean "Ctrl-C in sft" sig
if [ -f "$BASE_MODEL" ]; then
    echo old >sig/model.gguf
    interrupt "quantize" 'sig/model.gguf.tmp-*' "$HONE" quantize "$BASE_MODEL" --type q6_k -o sig/model.gguf
    [ "$code" = 0 ] || [ "$(cat sig/model.gguf)" = old ] && pass "Ctrl-C in quantize: the old file stays" ||
        fail "Ctrl-C in quantize: the old file stays"
    interrupt "export" 'sig/folder/.tmp-*' "$HONE" export "$BASE_MODEL" --type f32 -o sig/folder
    [ "$code" = 0 ] || [ ! -e sig/folder ] && pass "Ctrl-C in export: no folder is left" ||
        fail "Ctrl-C in export: no folder is left" "$(ls -a sig/folder)"
    clean "Ctrl-C in quantize and export" sig
else
    skip "Ctrl-C in quantize and export" "the base model isn't there (scripts/get-base-model)"
fi
finish

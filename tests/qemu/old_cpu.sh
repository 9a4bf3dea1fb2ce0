# An illegal instruction is impossible: on emulated older processors, and on one whose system doesn't
# save the wide registers, the program takes the level that is there, refuses a higher one by name, and
# does its work: kernels, an answer, tokens, a quantised file and a training run. HONE and CHECK_KERNELS
# are the native ones; files come out the same as on this machine at the same level.
. "$(dirname "$0")/lib.sh"
needs qemu-x86_64 "older processors"
models=$here/../golden/models

rows() {
    local noun
    for noun in cat dog sun tree bird ball car box; do
        printf '{"messages":[{"role":"user","content":"Lily sees the %s"},{"role":"assistant","content":"%s"}]}\n' \
            "$noun" "$noun"
    done
}
rows >"$work/train.jsonl"
cp -r "$models/llama3" "$work/tiny"
echo '{% for m in messages %}{{ m.content }}|{% endfor %}' >"$work/tiny/chat_template.jinja"

# work_of NAME COMMAND...: what the program does on the tiny model, its results into the folder NAME.
work_of() {
    local to=$work/$1
    shift
    mkdir -p "$to"
    "$@" tokenize "$work/tiny" --ids "Lily sees the cat. It's 12:30!" >"$to/ids" &&
        "$@" quantize "$work/tiny" --type q4_k_m --calibration "$work/train.jsonl" -q -o "$to/model.gguf" &&
        "$@" sft "$work/tiny" "$work/train.jsonl" -o "$to/run" --rank 4 --max-steps 3 -q
}
same_work() {
    local name=$1 differing
    differing=$(for file in ids model.gguf run/adapter/adapter_model.safetensors; do
        cmp "$work/$2/$file" "$work/$3/$file" 2>&1
    done)
    [ -z "$differing" ] && pass "$name" || fail "$name" "$differing"
}

while read -r cpu level higher; do
    on=(qemu-x86_64 -cpu "$cpu")
    expect "$cpu: starts" 0 "^hone " "${on[@]}" "$HONE" --version
    expect "$cpu: its best level is $level" 2 "can't execute .* $higher; its best is $level" \
        "${on[@]}" "$HONE" chat "$BASE_MODEL" -p x --isa "$higher"
    expect "$cpu: HONE_ISA is refused alike" 2 "its best is $level" \
        env HONE_ISA="$higher" "${on[@]}" "$HONE" chat "$BASE_MODEL" -p x
    expect "$cpu: kernels" 0 "^$higher: skipped" "${on[@]}" "$CHECK_KERNELS" --native
    if run work_of "$cpu" "${on[@]}" "$HONE" && [ "$code" = 0 ]; then
        pass "$cpu: tokenize, quantize, sft"
        [ -d "$work/$level" ] || work_of "$level" env HONE_ISA="$level" "$HONE" >/dev/null 2>&1
        same_work "$cpu: the same files as here with $level" "$cpu" "$level"
    else
        fail "$cpu: tokenize, quantize, sft" "exit $code" "$(tail -n 5 "$work/err")"
    fi
    if [ ! -f "$BASE_MODEL" ]; then
        skip "$cpu: an answer" "the base model isn't there (scripts/get-base-model)"
    elif answer 4 "${on[@]}" "$HONE"; then
        emulated=$text
        answer 4 env HONE_ISA="$level" "$HONE" && same_answer "$cpu: an answer" "$text" "$emulated"
    fi
done <<'LEVELS'
Nehalem scalar avx2
SandyBridge scalar avx2
Haswell,-xsave scalar avx2
Haswell avx2 avx512vnni
LEVELS
finish

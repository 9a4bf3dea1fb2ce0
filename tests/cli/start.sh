# Starting: the weights cache, what happens when memory is short, and Ctrl-C while a prompt is read.
. "$(dirname "$0")/lib.sh"
models=$(cd "$(dirname "$0")/../golden/models" && pwd)
cd "$work" || exit 1
export HONE_CACHE=$work/cache HONE_WEIGHTS_CACHE_GB=8
packed=$HONE_CACHE/packed
cp "$models/llama3.gguf" tiny.gguf
talk=("$HONE" chat tiny.gguf --raw -p abc -n 4)
kept() { find "$packed" -name '*.weights' 2>/dev/null | wc -l; }

# ---- small models and --weights-cache off leave nothing
expect "a small model" 0 "" "${talk[@]}"
cp out plain
expect "off" 0 "" "${talk[@]}" --weights-cache off
[ "$(kept)" = 0 ] && pass "neither keeps its weights" || fail "neither keeps its weights" "$(ls "$packed")"

# ---- kept, found, said
expect "on: the first start says what it keeps" 0 "kept for the next start.*$packed" "${talk[@]}" --weights-cache on
cmp -s out plain && [ "$(kept)" = 1 ] && pass "it answers the same" || fail "it answers the same" "$(cat out)"
file=$(find "$packed" -name '*.weights')
before=$(stat -c %i "$file")
expect "the second start is silent about it" 0 "" "${talk[@]}" --weights-cache on
cmp -s out plain && ! grep -q kept err && [ "$(stat -c %i "$file")" = "$before" ] &&
    pass "it uses the file" || fail "it uses the file" "$(cat err)"
expect "info says what is there" 0 "weights cache .*for 1 model in $packed" "$HONE" info tiny.gguf
truncate -s -1 "$file"
expect "a file that was cut is written anew" 0 "kept for the next start" "${talk[@]}" --weights-cache on
head -c 9000 /dev/urandom >"$file"
expect "so is rubbish" 0 "kept for the next start" "${talk[@]}" --weights-cache on
cmp -s out plain && pass "with the same answer" || fail "with the same answer" "$(cat out)"
rm -rf "$packed"
HONE_WEIGHTS_CACHE_GB=0 expect "no room allowed: it says so and goes on" 0 "no weights cache: .*the most that is kept" \
    "${talk[@]}" --weights-cache on
HONE_WEIGHTS_CACHE_GB=much expect "a limit that is none" 2 "HONE_WEIGHTS_CACHE_GB: 'much' is no number" \
    "${talk[@]}" --weights-cache on

# ---- a model without a chat template is refused before its weights are touched
printf '{"prompt":"Who?","assert":[{"type":"icontains","value":"a"}]}\n' >golden.jsonl
printf '{"prompt":"Who?"}\n' >prompts.jsonl
rm -rf "$packed"
for way in on auto off; do
    expect "chat, --weights-cache $way" 3 "tiny.gguf has no chat template" \
        "$HONE" chat tiny.gguf -p abc --weights-cache $way
done
[ ! -e "$packed" ] && pass "the weights cache stays empty" || fail "the weights cache stays empty" "$(ls "$packed")"
# of weights that can't be packed nothing is said, since they aren't looked at
cp -r "$models/llama3" bare && python3 - bare/model.safetensors <<'END'
import struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
start = 8 + struct.unpack("<Q", data[:8])[0]
data[start:] = b"\xff" * (len(data) - start)  # NaN, whatever the type
open(sys.argv[1], "wb").write(data)
END
expect "weights of NaN" 3 "not a finite number" "$HONE" chat bare --raw -p abc
expect "chat" 3 "bare has no chat template" "$HONE" chat bare -p abc
expect "eval" 3 "bare has no chat template" "$HONE" eval bare golden.jsonl
expect "data generate" 3 "bare has no chat template" "$HONE" data generate prompts.jsonl --local bare -o made.jsonl
expect "logits of messages" 3 "bare has no chat template" \
    sh -c 'echo "[{\"role\":\"user\",\"content\":\"a\"}]" | "$0" logits bare --messages - -o x.npy' "$HONE"
expect "sft with a golden set" 3 "bare has no chat template" \
    "$HONE" sft bare prompts.jsonl --eval prompts.jsonl --golden golden.jsonl -o run
expect "merge measured on a golden set" 3 "tiny.gguf has no chat template" \
    "$HONE" merge tiny.gguf "$models/llama3_lora" -o merged --golden golden.jsonl
expect "or on a text that isn't there" 3 "none.txt" \
    "$HONE" merge tiny.gguf "$models/llama3_lora" -o merged --text none.txt
[ ! -e merged ] && pass "nothing was merged" || fail "nothing was merged"
printf 'name: bare\nbase: bare\ndata: {train: prompts.jsonl, golden: golden.jsonl}\nartefacts: [{name: beside, kind: adapter}]\n' >bare.yaml
expect "a recipe" 3 "bare has no chat template" "$HONE" run bare.yaml -o ran
[ ! -e ran ] && pass "nothing was begun" || fail "nothing was begun" "$(ls ran)"

# ---- a place that can't be written to
expect "no folder can be made" 0 "no weights cache: .*proc" env HONE_CACHE=/proc/none "${talk[@]}" --weights-cache on
cmp -s out plain && pass "it goes on" || fail "it goes on" "$(cat out)"
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
cp "$HONE" hone && chmod 755 "$work" hone && chmod 644 tiny.gguf
if "${as[@]}" ./hone --version >first 2>&1; then
    run "${talk[@]}" --weights-cache on
    chmod -R a-w,a+rX "$HONE_CACHE"
    expect "a folder that may only be read serves" 0 "" "${as[@]}" ./hone chat tiny.gguf --raw -p abc -n 4 --weights-cache on
    cmp -s out plain && [ ! -s err ] || grep -q "no weights cache" err && fail "from its file" "$(cat err)" || pass "from its file"
    chmod -R u+w "$HONE_CACHE" && rm -rf "$packed" && mkdir "$packed" && chmod a-w "$packed"
    expect "and isn't needed" 0 "no weights cache: .*Permission denied" "${as[@]}" ./hone chat tiny.gguf --raw -p abc -n 4 --weights-cache on
    chmod u+w "$packed"
else
    skip "a folder that may only be read" "the program can't be run as another user here"
fi
mkdir -p full
if mount -t tmpfs -o size=100k tmpfs full 2>/dev/null; then
    trap 'umount "$work/full" 2>/dev/null; rm -rf "$work"' EXIT
    expect "a full disk" 0 "no weights cache: .*are needed, and .* are free" env HONE_CACHE="$work/full" "${talk[@]}" --weights-cache on
    cmp -s out plain && [ -z "$(find full -type f)" ] && pass "and nothing is left on it" || fail "and nothing is left on it" "$(find full)"
    umount full
else
    skip "a full disk" "no right to mount a small file system"
fi

if [ ! -f "$BASE_MODEL" ]; then
    skip "the cache with a real model" "the base model isn't there (scripts/get-base-model)"
    finish
    exit
fi
model=("$HONE" chat "$BASE_MODEL")

expect "more context than the model was trained for is named" 0 "--ctx 8193: the model was trained for 8192 tokens" \
    "${model[@]}" -p Hi --ctx 8193 -n 1
run "${model[@]}" -p Hi --ctx 8192 -n 1
if [ "$code" = 0 ] && ! grep -q trained "$work/err"; then
    pass "as much as it was trained for is not"
else
    fail "as much as it was trained for is not" "exit $code" "$(tail -n 5 "$work/err")"
fi

# ---- short of memory
expect "a context beyond all memory" 1 "a context of 16777216 tokens takes 386.. GB in f16, and .* are free within .*what fits: [0-9]+ in f16.*--ctx, --kv-type" \
    "${model[@]}" -p Hi --weights-cache off --ctx 16777216
limited() { (ulimit -v "$1" && shift && exec "$@"); }
expect "ulimit -v below the weights" 1 "it takes 11. MB of memory, and .* are free within the limit of this process \(ulimit -v\); nothing of this" \
    limited 200000 "${model[@]}" -p Hi --weights-cache off
expect "and below the cache" 1 "a context of 8192 tokens takes 189 MB in f16, and .*ulimit -v.*what fits: [0-9]+ in f16, [0-9]+ in q8_0" \
    limited 400000 "${model[@]}" -p Hi --weights-cache off --ctx 8192
expect "what it says fits does" 0 "" limited 400000 "${model[@]}" -p Hi --weights-cache off --ctx 1024 -n 2
rm -rf "$packed"
expect "with little memory free" 0 "" limited 400000 "${model[@]}" -p Hi -n 2
[ "$(kept)" = 0 ] && pass "auto keeps nothing" || fail "auto keeps nothing" "$(ls "$packed")"
group=/sys/fs/cgroup/hone-test-$$
[ -d /sys/fs/cgroup/memory ] && group=/sys/fs/cgroup/memory/hone-test-$$
limit=memory.max
[ -d /sys/fs/cgroup/memory ] && limit=memory.limit_in_bytes
if mkdir "$group" 2>/dev/null && echo 60000000 2>/dev/null >"$group/$limit"; then
    # shellcheck disable=SC2016
    expect "a container with too little memory" 1 "it takes 11. MB of memory, and .* are free within the limit of its cgroup" \
        sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "${model[@]}" -p Hi --weights-cache off
    rmdir "$group" 2>/dev/null
else
    rmdir "$group" 2>/dev/null
    skip "a container with too little memory" "no right to make a cgroup with a limit"
fi

# ---- a disk that is full half-way
rm -rf "$packed"
# shellcheck disable=SC2016
expect "a write that fails half-way" 0 "no weights cache: .*File too large" \
    bash -c 'ulimit -f 20000 && exec "$@"' - "${model[@]}" -p Hi -n 2 --weights-cache on
[ -z "$(find "$packed" -type f)" ] && pass "and leaves nothing" || fail "and leaves nothing" "$(ls -la "$packed")"

# ---- two processes share the pages
rm -rf "$packed"
expect "the real model, kept" 0 "kept for the next start" "${model[@]}" -p Hi -n 8
cp out plain
expect "and found" 0 "" "${model[@]}" -p Hi -n 8
cmp -s out plain && ! grep -q kept err && pass "with the same answer" || fail "with the same answer" "$(cat out err)"
for i in 1 2; do
    "${model[@]}" -p 'Tell a long story' -n 4000 --ctx 4096 --ignore-eos >"story$i" 2>&1 &
    pids[i]=$!
done
for _ in $(seq 200); do [ -s story1 ] && [ -s story2 ] && break; sleep 0.1; done
shared=$(awk '/^[0-9a-f]+-/ { on = /\.weights/ } on && /^Shared_Clean/ { s += $2 } END { print s + 0 }' "/proc/${pids[1]}/smaps")
own=$(awk '/^[0-9a-f]+-/ { on = /\.weights/ } on && /^Private/ { s += $2 } END { print s + 0 }' "/proc/${pids[1]}/smaps")
kill "${pids[1]}" "${pids[2]}" 2>/dev/null
wait "${pids[1]}" "${pids[2]}" 2>/dev/null
[ "$shared" -gt 80000 ] && [ "$own" -lt 8000 ] && pass "two processes share $shared kB of weights" ||
    fail "two processes share their weights" "$shared kB shared, $own kB not"

# ---- killed while writing
for delay in 0.03 0.06 0.1; do
    rm -rf "$packed"
    "${model[@]}" -p Hi -n 1 >first 2>&1 &
    pid=$!
    sleep $delay
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    run "${model[@]}" -p Hi -n 8
    if ! cmp -s out plain || [ "$(kept)" != 1 ] || [ -n "$(find "$packed" -name '*-new')" ]; then
        fail "kill -9 after $delay s" "$(cat err)" "$(ls "$packed")"
    else
        pass "kill -9 after $delay s: the next start is whole"
    fi
done

# ---- Ctrl-C while the prompt is read
yes 'and so on and so forth' | head -n 600 >long.txt
"${model[@]}" -p - -n 4 --ctx 8192 <long.txt >out 2>err &
pid=$!
sleep 0.6
kill -INT $pid
began=$(date +%s%N)
wait $pid
code=$?
took=$((($(date +%s%N) - began) / 1000000))
if [ $code = 130 ] && grep -q cancelled err && ! grep -q . out; then
    pass "Ctrl-C while the prompt is read ($took ms)"
elif [ $code = 0 ]; then
    skip "Ctrl-C while the prompt is read" "it was done before the signal came"
else
    fail "Ctrl-C while the prompt is read" "exit $code" "$(cat err)"
fi
finish

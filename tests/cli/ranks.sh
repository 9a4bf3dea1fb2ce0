# Training under mpirun: what one process and several print, write and learn; one that fails, is stopped or killed.
# On the tiny golden models. HONE_MPI says whether the program was built with MPI, MPIRUN where mpirun is.
. "$(dirname "$0")/lib.sh"
golden=$(cd "$(dirname "$0")/../golden" && pwd)
cd "$work" || exit 1
cp -r "$golden/models/llama3" tiny
cp -r "$golden/models/llama3_lora" lora
echo '{% for m in messages %}{{ m.content }}|{% endfor %}' >tiny/chat_template.jinja
for verb in sees wants likes finds loses; do
    for noun in cat dog sun tree bird ball car box; do
        printf '{"messages":[{"role":"user","content":"Lily %s the %s"},' "$verb" "$noun"
        printf '{"role":"assistant","content":"%s"}]}\n' "$noun"
    done
done >train.jsonl
for noun in cat dog sun tree bird ball car box; do
    printf '{"prompt":"Tom has a %s","chosen":"the %s","rejected":"no"}\n' "$noun" "$noun"
done >pairs.jsonl
sft=(sft tiny train.jsonl --rank 8 --max-length 64 --epochs 4 --batch 6 --learning-rate 1e-3 --threads 1 --eval pairs.jsonl)

echo 'name: none' >recipe.yaml
expect "a recipe in several processes" 2 "a recipe is carried out by one: start it without mpirun, or train in several with hone sft" env OMPI_COMM_WORLD_SIZE=2 "$HONE" run recipe.yaml
if [ "${HONE_MPI:-0}" != 1 ]; then
    expect "one of several processes, without MPI" 3 "one of 2 processes.*built without MPI.*-Dmpi=enabled" \
        env OMPI_COMM_WORLD_SIZE=2 "$HONE" "${sft[@]}" -o refused
    expect "the same under another launcher" 3 "one of 4 processes" env PMI_SIZE=4 "$HONE" dpo tiny pairs.jsonl -o refused
    [ ! -e refused ] && pass "it left nothing" || fail "it left nothing" "$(ls refused)"
    expect "one process of a launcher" 0 "^adapter" env OMPI_COMM_WORLD_SIZE=1 "$HONE" "${sft[@]}" --max-steps 1 -o one
    skip "training on several ranks" "this build has no MPI (meson setup -Dmpi=enabled)"
    finish
    exit
fi
if [ ! -x "${MPIRUN:-}" ]; then
    skip "training on several ranks" "no mpirun (openmpi-bin)"
    finish
    exit
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_orte_base_help_aggregate=0
# Of a build with sanitizers only what hone itself leaks counts.
export LSAN_OPTIONS=print_suppressions=0:suppressions=$golden/../mpi.supp ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}fast_unwind_on_malloc=0
ranks() { local n=$1; shift; "$MPIRUN" -n "$n" "$HONE" "$@"; }

# alike NAME A B [N]: losses and norms of both folders' steps and evaluations, of the first N if given (later
# on, differences of rounding have grown), within 1e-5 of each other.
alike() {
    python3 - "$2" "$3" "${4:-1000000}" >differ 2>&1 <<'END' && pass "$1" || fail "$1" "$(tail -n 3 differ)"
import json, sys
a, b = ([json.loads(l) for l in open(d + "/metrics.jsonl")] for d in sys.argv[1:3])
assert len(a) == len(b) > 1, "%d and %d lines" % (len(a), len(b))
for x, y in list(zip(a, b))[:int(sys.argv[3])]:
    for key in x:
        if "second" in key or key == "rows": # beginnings are shared within a rank
            continue
        if key == "rewards/accuracies" and abs(x["rewards/margins"]) < 1e-5: # a tie, as before the first update
            continue
        # Rewards are differences of sums of log-probabilities, which are tens.
        slack = 1e-5 if key.startswith("rewards/") else 1e-7
        assert abs(x[key] - y[key]) <= 1e-5 * abs(x[key]) + slack, (key, x, y)
END
}
same() { cmp "$2/adapter/adapter_model.safetensors" "$3/adapter/adapter_model.safetensors" >differ 2>&1 && pass "$1" || fail "$1" "$(cat differ)"; }
lines() { local n; n=$(grep -cE "$2" "$3"); [ "$n" = "$4" ] && pass "$1" || fail "$1" "$n lines with $2" "$(head -n 9 "$3")"; }

# ---- the same result
"$HONE" "${sft[@]}" -o one >first 2>&1 || fail "sft alone" "$(tail -n 3 first)"
for n in 2 4; do
    expect "sft on $n ranks" 0 "^adapter" ranks $n "${sft[@]}" -o "sft$n"
    lines "$n ranks: the result is told once" '^steps' out 1
    lines "$n ranks: so are notes" 'evaluation loss' err 5
    alike "$n ranks learn what one learns" one "sft$n"
done
ranks 4 "${sft[@]}" -o again >first 2>&1
same "4 ranks again: the same bits" sft4 again
train=(--max-steps 4 --batch 5 --max-length 64 --threads 1 --learning-rate 1e-3)
for name in dpo distill full; do
    case $name in
    dpo) command=(dpo tiny pairs.jsonl --init-adapter lora --eval pairs.jsonl) ;;
    distill) command=(distill tiny train.jsonl --teacher tiny --on-policy 0.5 --sample-tokens 6 --eval pairs.jsonl) ;;
    full) command=(sft tiny train.jsonl --full) ;;
    esac
    "$HONE" "${command[@]}" "${train[@]}" -o "$name-1" >first 2>&1 || fail "$name alone" "$(tail -n 3 first)"
    expect "$name on 3 ranks" 0 "^(adapter|model)" ranks 3 "${command[@]}" "${train[@]}" -o "$name-3"
    alike "$name on 3 ranks learns what one learns" "$name-1" "$name-3"
done
expect "the model of all weights opens" 0 "" "$HONE" info full-3/model

# ---- evaluations: ranks share out the golden rows and the general text, and find what one finds, bit for bit
for i in 1 2 3 4 5 6 7; do
    printf '{"prompt":"Tom %s","weight":0.%s,"assert":[{"type":"regex","value":"[0-9A-Za-z]"}]}\n' $i $i
done >golden.jsonl
for i in $(seq 150); do printf 'Lily sees the cat %s. ' "$i"; done >general.txt
asked=(sft tiny train.jsonl --init-adapter lora "${train[@]}" --eval pairs.jsonl --golden golden.jsonl --max-tokens 4 --general general.txt)
# first NAME A B: what is asked of the model before the first step, of the same parameters.
first() {
    python3 - "$2" "$3" >differ 2>&1 <<'END' && pass "$1" || fail "$1" "$(tail -n 3 differ)"
import json, sys
a, b = (next(r for r in map(json.loads, open(d + "/metrics.jsonl")) if "eval_loss" in r) for d in sys.argv[1:3])
for key in "eval_golden", "eval_general_perplexity", "eval_general_kl":
    assert a[key] == b[key] > 0, (key, a, b)
END
}
"$HONE" "${asked[@]}" -o asked1 >first 2>&1 || fail "evaluations alone" "$(tail -n 3 first)"
for n in 2 3; do
    expect "evaluations on $n ranks" 0 "^adapter" ranks $n "${asked[@]}" -o asked$n
    first "$n ranks find what one finds" asked1 asked$n
done
expect "more ranks than golden rows, all weights" 0 "^model" ranks 4 "${command[@]}" "${train[@]}" --eval pairs.jsonl --golden golden.jsonl --golden-rows 1 --max-tokens 4 -o all4
head -n 1 golden.jsonl >long.jsonl
printf '{"prompt":"%080d","assert":[{"type":"icontains","value":"a"}]}\n' 0 >>long.jsonl
expect "a golden row that rank 1 can't answer stops all" 3 "rank 1 of 2: long.jsonl:2: the prompt's" \
    timeout 60 "$MPIRUN" -n 2 "$HONE" "${asked[@]}" --golden long.jsonl -o bad
expect "golden sets that differ" 2 "rank 1 of 2: has other rows" \
    timeout 60 "$MPIRUN" -n 1 "$HONE" "${asked[@]}" -o bad : -n 1 "$HONE" "${asked[@]}" --golden-rows 2 -o bad
rm -rf bad

# ---- one that fails
expect "rows that rank 1 can't open" 3 "rank 1 of 2: absent.jsonl: No such file" \
    "$MPIRUN" -n 1 "$HONE" "${sft[@]}" -o bad : -n 1 "$HONE" sft tiny absent.jsonl -o bad
[ ! -e bad ] && pass "nothing was trained" || fail "nothing was trained" "$(ls bad)"
expect "rows that nobody can open" 3 "hone: absent.jsonl: No such file" ranks 3 sft tiny absent.jsonl -o bad
lines "it's said once" 'No such file' err 1
expect "rows that differ" 2 "rank 1 of 2: has other rows" \
    "$MPIRUN" -n 1 "$HONE" "${sft[@]}" -o bad : -n 1 "$HONE" sft tiny pairs.jsonl -o bad
expect "another command" 0 "" timeout 60 "$MPIRUN" -n 2 "$HONE" info tiny
disk() { umount full 2>/dev/null; mkdir -p full && mount -t tmpfs -o "size=$1" tmpfs full 2>/dev/null; }
if disk 48k; then
    trap 'umount "$work/full" 2>/dev/null; rm -rf "$work"' EXIT
    expect "a full disk stops all" 3 "hone: full/run/checkpoint.*No space left" ranks 2 "${sft[@]}" -o full/run
    umount full
else
    skip "a full disk stops all" "no right to mount a small file system"
fi

# ---- stopped and killed
long=("${sft[@]}" --max-steps 200 --save-every 3) # long enough to be reached by a signal in its midst
# children PID: its processes (a bare Debian has no pgrep).
children() {
    local file line parent
    for file in /proc/[0-9]*/stat; do
        { read -r line <"$file"; } 2>/dev/null || continue
        read -r _ parent _ <<<"${line##*) }"
        if [ "$parent" = "$1" ]; then
            file=${file#/proc/}
            echo "${file%/stat}"
        fi
    done
}
# start N FOLDER: in the background, until some steps are done; the ranks' processes are in $pids.
start() {
    "$MPIRUN" -n "$1" "$HONE" "${long[@]}" -o "$2" >out 2>err &
    job=$!
    for _ in $(seq 3000); do
        [ "$(cat "$2/metrics.jsonl" 2>/dev/null | wc -l)" -gt 8 ] && break
        sleep 0.01
    done
    pids=$(children "$job")
}
start 2 killed
kill -9 "${pids##*$'\n'}"
wait $job
[ $? != 0 ] && [ -s killed/checkpoint ] && pass "a killed rank ends all; the checkpoint stays" || fail "a killed rank" "$(cat err)"
[ -z "$(children "$job")" ] && pass "no rank goes on" || fail "no rank goes on"
start 2 stopped
kill -TERM "${pids##*$'\n'}"
wait $job
code=$?
[ $code = 130 ] && grep -q 'hone: stopped after step' err && pass "a rank that is asked to stop" ||
    fail "a rank that is asked to stop" "exit $code" "$(cat err)"
"$HONE" "${long[@]}" -o whole >first 2>&1
ranks 2 "${long[@]}" -o whole2 >first 2>&1
expect "2 ranks go on after a kill" 0 "going on after step" ranks 2 "${long[@]}" -o killed
same "with the same bits as without" whole2 killed
expect "4 go on with what 2 began" 0 "going on after step" ranks 4 "${long[@]}" -o stopped
alike "and learn the same" whole stopped 60
finish

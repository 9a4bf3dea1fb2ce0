# hone bench: what it prints, what it refuses, and models that it makes itself. Needs no data.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
mkdir scratch
export TMPDIR=$work/scratch
shape=(--shape stories260k --type q4_0 -r 1 --no-limits)

# json NAME EXPRESSION: the last output, `t` the list of tests, makes it true.
json() {
    if python3 -c 'import json, sys; t = json.load(open(sys.argv[1])); assert eval(sys.argv[2])' "$work/out" "$2"; then
        pass "$1"
    else
        fail "$1" "not true: $2" "$(head -c 300 "$work/out")"
    fi
}

expect "a shape is written, measured and kept" 0 "decode 4" "$HONE" bench "${shape[@]}" -p 8 -n 4 --write model.gguf
expect "the file is a model" 0 "llama, 0\.3M parameters" "$HONE" info model.gguf
expect_json "a shape leaves nothing behind" "$HONE" bench "${shape[@]}" -p 8 -n 4 --json
[ -z "$(ls scratch)" ] && pass "no file stays without --write" || fail "no file stays without --write" "$(ls scratch)"
llama_keys="build_commit cpu_info backends model_filename model_type model_size model_n_params n_batch n_ubatch \
n_threads type_k type_v n_prompt n_gen n_depth test_time avg_ns stddev_ns avg_ts stddev_ts samples_ns samples_ts"
json "llama-bench's keys" "all(k in x for x in t for k in '$llama_keys'.split())"
json "no limits, no shares" "'read_limit_s' not in t[0] and 'bytes_s' in t[0]"

run "$HONE" bench model.gguf -p 0,8,16 -n 2,3 -d 0,5 --rows 1,2 --kv-type f16,q8_0 -t 1,2 -r 2 -b 4 --no-limits --json
json "every combination" "len(t) == 2 * 2 * 2 * (2 + 4)"
json "of every value" "{x['type_k'] for x in t} == {'f16', 'q8_0'} and {x['n_threads'] for x in t} == {1, 2}"
json "with as many samples" "all(len(x['samples_ts']) == 2 and x['n_batch'] == 4 for x in t)"
run "$HONE" bench model.gguf -p 4 -n 4 -r 1 --json --cold
json "limits, and caches that are emptied for decoding" \
    "t[0]['mac_limit_s'] > 0 and t[1]['read_limit_s'] > 0 and t[1]['cold'] and not t[0]['cold']"
expect "a sustained run" 0 "worst 1 s" "$HONE" bench model.gguf -p 0 -n 4 --sustained 1 --no-limits
expect "two files" 0 "^model +test" "$HONE" bench model.gguf model.gguf -p 4 -n 0 -r 1 --no-limits

printf 'one two three one two three one two' >text.txt
run "$HONE" bench model.gguf -p 4 -n 24 -r 2 --no-limits --prompt text.txt --speculate ngram --json
json "decode on a text" "t[1]['n_depth'] > 0 and t[1]['tokens_per_pass'] >= 1 and 'n_drafted' not in t[0]"
expect "a draft model" 0 "tok/pass +came true" "$HONE" bench model.gguf -p 0 -n 8 -r 1 --no-limits \
    --prompt text.txt --speculate model.gguf
"$HONE" bench model.gguf -p 0 -n 4 -r 1 --no-limits --prompt - <text.txt 2>err | grep -q "decode 4 @.* text" &&
    pass "a text from standard input" || fail "a text from standard input" "$(cat err)"
expect "nothing to guess" 2 "random tokens can't be guessed" "$HONE" bench model.gguf --speculate ngram
expect "a draft that isn't there" 3 "none\.gguf" "$HONE" bench model.gguf --prompt text.txt --speculate none.gguf
expect "no such text" 3 "none\.txt" "$HONE" bench model.gguf --prompt none.txt
expect "a text at a depth" 2 "not with a depth" "$HONE" bench model.gguf -p 0 -n 4 -d 4 --prompt text.txt

expect "neither model nor shape" 2 "needs a model, or --shape" "$HONE" bench
expect "both" 2 "needs a model, or --shape" "$HONE" bench model.gguf --shape stories260k
expect "an unknown shape" 2 "llama-3\.2-1b" "$HONE" bench --shape llama-9
expect "nothing to measure" 2 "nothing to measure" "$HONE" bench model.gguf -p 0 -n 0
for list in "" 1, ,1 x 1,x 1.5 -1 99999999999999999999 1048577; do
    expect "no list of numbers: '$list'" 2 "n-gen: .* is no list of whole numbers" "$HONE" bench model.gguf -n "$list"
done
expect "too many values" 2 "at most 32 values" "$HONE" bench model.gguf -n "$(seq -s, 1 33)"
expect "no rows at all" 2 "rows: '0' is no list of whole numbers from 1 to 256" "$HONE" bench model.gguf --rows 1,0
expect "an unknown cache type" 2 "f16" "$HONE" bench model.gguf --kv-type f16,q9
expect "longer than the context" 2 "exceed the model's context of 512" "$HONE" bench model.gguf -p 0 -n 600
expect "sustained and cold" 2 "sustained" "$HONE" bench model.gguf -p 0 -n 4 --sustained 1 --cold
expect "nowhere to write" 3 "there is no folder" "$HONE" bench "${shape[@]}" --write nowhere/model.gguf
TMPDIR=$work/nowhere expect "no folder for temporary files" 3 "there is no folder" "$HONE" bench "${shape[@]}"
expect "a name that isn't a model" 3 "text\.gguf" "$HONE" bench text.gguf
finish

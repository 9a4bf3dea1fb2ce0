# bench/train: hone's training, and hone by turns with a stand-in for TRL. Needs no data, no torch and no network.
. "$(dirname "$0")/lib.sh"
compare=$(cd "$(dirname "$0")/../.." && pwd)/bench/train/compare.py
cd "$work" || exit 1
"$HONE" bench --shape stories260k --type q4_0 -p 4 -n 0 -r 1 --no-limits --write model.gguf >/dev/null 2>&1

# steps NAME EXPRESSION: the run's steps, `s` the list of metrics.jsonl's lines, make it true.
steps() {
    if python3 -c 'import json, sys; s = [json.loads(l) for l in open("run/metrics.jsonl")]; assert eval(sys.argv[1])' "$2"; then
        pass "$1"
    else
        fail "$1" "not true: $2" "$(cat run/metrics.jsonl)"
    fi
}

expect_json "random documents" "$BENCH_TRAIN" model.gguf run -l 32 -b 2 -n 3
steps "as many steps and tokens as asked for" "[(x['tokens'], x['supervised']) for x in s] == [(64, 16)] * 3"
run "$BENCH_TRAIN" model.gguf run -l 32 -b 2 -n 1 -a
steps "every token learned" "s[0]['supervised'] == 62"
run "$BENCH_TRAIN" model.gguf run -l 32 -b 2 -n 1 -i -m 1
steps "int8, in little memory" "s[0]['tokens'] == 64"
{
    echo '{"messages": [{"role": "user", "content": "the same long beginning of two rows: a"}, {"role": "assistant", "content": "yes"}]}'
    echo '{"messages": [{"role": "user", "content": "the same long beginning of two rows: b, longer"}, {"role": "assistant", "content": "no"}]}'
} >rows.jsonl
run "$BENCH_TRAIN" model.gguf run -d rows.jsonl -b 2 -n 1
steps "common beginnings computed once" "s[0]['rows'] < s[0]['tokens'] - 20"
run "$BENCH_TRAIN" model.gguf run -d rows.jsonl -b 2 -n 1 -c
steps "and with each row" "s[0]['tokens'] - 10 < s[0]['rows'] <= s[0]['tokens']"
run "$BENCH_TRAIN" model.gguf run -d rows.jsonl -b 2 -n 1 -p
steps "padded to the longest" "s[0]['tokens'] % 2 == 0 and s[0]['rows'] > 60"
expect "no such rows" 1 "none\.jsonl" "$BENCH_TRAIN" model.gguf run -d none.jsonl
expect "nothing asked for" 2 "usage: bench-train" "$BENCH_TRAIN"

# What TRL would say: of the rows that it is given, 2 s for each step but the first.
cat >trl <<'END'
#!/usr/bin/env python3
import json, os, sys
work = json.load(open(sys.argv[3]))
assert sys.argv[2] == "folder" and sys.argv[4] == "1" and len(work["rows"]) == work["steps"] * work["batch"]
tokens = int(os.environ["TOKENS"])
steps = [{"tokens": tokens, "padded": tokens, "seconds": 2 if i else 100} for i in range(work["steps"])]
print("noise\n" + json.dumps({"steps": steps, "peak_mb": 5000, "versions": {"trl": "stand-in"}}))
END
chmod +x trl
options=(--hone "$BENCH_TRAIN" --python ./trl --folder folder -t 1 -n 2)
export TOKENS=1024
expect "three programs by turns" 0 "dense +trl +512\.0 +1\.00 +5000 +\(2\)" \
    python3 "$compare" "${options[@]}" --works dense -r 2 --json result.json model.gguf
expect "samples add up" 0 "dense +hone-f32 .*\(3\)" \
    python3 "$compare" "${options[@]}" --works dense --programs hone-f32 -r 1 --json result.json model.gguf
python3 - <<'END' && pass "samples as JSON" || fail "samples as JSON"
import json
dense = json.load(open("result.json"))["works"]["dense"]
assert {p: len(s) for p, s in dense.items()} == {"hone-f32": 3, "hone-int8": 2, "trl": 2}
assert dense["trl"][0]["said"]["versions"] == {"trl": "stand-in"} and dense["hone-f32"][0]["peak_mb"] > 1
END
mkdir -p data/clinc150 data/oasst1
for i in $(seq 16); do
    echo "{\"text\": \"request number $i\", \"intent\": \"count\"}" >>data/clinc150/train.jsonl
    echo "{\"prompt\": [{\"role\": \"user\", \"content\": \"$i?\"}], \"chosen\": \"good $i\", \"rejected\": \"bad $i\"}" \
        >>data/oasst1/preferences.jsonl
done
expect "rows and pairs of the data" 0 "dpo +hone-f32 " python3 "$compare" "${options[@]}" --data data \
    --works clinc150-8,dpo --programs hone-f32 -r 1 model.gguf
TOKENS=7 expect "other tokens" 1 "dense, step 1: .* counts [0-9]+ tokens, another" \
    python3 "$compare" "${options[@]}" --works dense -r 1 model.gguf
expect "no Python for TRL" 1 "TRL needs --python" \
    python3 "$compare" --hone "$BENCH_TRAIN" --works dense --programs trl model.gguf
expect "an unknown work" 1 "weaving: there is dense, gsm8k" python3 "$compare" "${options[@]}" --works weaving model.gguf
expect "a program that fails" 1 "none\.gguf" python3 "$compare" "${options[@]}" --works dense none.gguf
finish

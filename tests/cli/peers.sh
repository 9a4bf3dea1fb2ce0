# bench/peers: hone and a stand-in for llama-bench by turns; a package with another sum. Needs no data and no network.
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
peers=$root/bench/peers/peers.py
cd "$work" || exit 1
"$HONE" bench --shape stories260k --type q4_0 -p 4 -n 0 -r 1 --no-limits --write model.gguf >/dev/null 2>&1
# A peer that says what llama-bench says: 100 tokens/s at its first turn, 200 at the second, ...
cat >peer <<'END'
#!/bin/bash
echo "$*" >>calls
turn=$(wc -l <calls)
held='"type_k": "f16", "type_v": "f16"'
[[ "$*" =~ "-ctk q8_0 -ctv q8_0 -fa 1" ]] && held='"type_k": "q8_0", "type_v": "q8_0"'
echo "[{\"n_prompt\": 8, \"n_gen\": 0, \"n_depth\": 0, \"avg_ts\": ${turn}00.0, $held, \"build_commit\": \"stand-in\"},
       {\"n_prompt\": 0, \"n_gen\": 4, \"n_depth\": 0, \"avg_ts\": ${turn}0.0, $held, \"build_commit\": \"stand-in\"}]"
END
chmod +x peer
options=(--hone "$HONE" --peer ./peer -p 8 -n 4 -t 1)
expect "two programs by turns" 0 "model\.gguf +tg4 +[0-9.]+ +20\.0 +[0-9.]+" \
    python3 "$peers" "${options[@]}" -r 3 --peer-args "-fa 1" --json result.json model.gguf
grep -qx -- "-m model.gguf -p 8 -n 4 -t 1 -r 1 -o json -fa 1" calls && [ "$(wc -l <calls)" = 3 ] &&
    pass "the peer's command" || fail "the peer's command" "$(cat calls)"
python3 - <<'END' && pass "medians, ratios and samples as JSON" || fail "medians, ratios and samples as JSON"
import json
result = json.load(open("result.json"))
first, second = result["tests"]
assert (first["test"], second["test"]) == ("pp8", "tg4") and result["programs"]["peer"]["build_commit"] == "stand-in"
assert first["samples"]["peer"] == [100, 200, 300] and first["peer_ts"] == 200 and len(first["samples"]["hone"]) == 3
assert first["hone_ts"] == sorted(first["samples"]["hone"])[1] and first["ratio"] == first["hone_ts"] / 200
END
rm calls
expect "caches of two types" 0 "model\.gguf +tg4 q8_0 +[0-9.]+ +35\.0 +[0-9.]+" \
    python3 "$peers" "${options[@]}" -r 2 --kv-type f16,q8_0 --json result.json model.gguf
printf '%s\n' "-m model.gguf -p 8 -n 4 -t 1 -r 1 -o json -ctk "{f16,f16,q8_0,q8_0} | sed 's/-ctk \(.*\)/& -ctv \1 -fa 1/' |
    diff - calls >said && pass "the peer's types" || fail "the peer's types" "$(cat said)"
python3 -c 'import json; assert [t["kv_type"] for t in json.load(open("result.json"))["tests"]] == 2 * ["f16"] + 2 * ["q8_0"]' &&
    pass "types as JSON" || fail "types as JSON"
expect "a peer with another type" 1 "peer: its cache was in f16 and f16, not in q4_0" \
    python3 "$peers" "${options[@]}" -r 1 --kv-type q4_0 model.gguf
expect "tests that only one measured" 1 "only one of the programs measured" \
    python3 "$peers" "${options[@]}" -r 1 --hone-args "--rows 1 -n 3" model.gguf
expect "a peer that fails" 1 "false .*: exit 1" python3 "$peers" "${options[@]}" --peer false model.gguf
expect "a model that isn't there" 1 "none\.gguf" python3 "$peers" "${options[@]}" none.gguf
mkdir -p cache/peers
echo junk >cache/peers/llama_cpp_python-0.3.36.tar.gz
HONE_CACHE=$work/cache expect "a package with another sum" 1 "the SHA-256 is .*, not 832db" \
    python3 "$peers" --hone "$HONE" model.gguf
finish

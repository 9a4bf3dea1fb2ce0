# hone data generate and hone data rows, against a local endpoint that misbehaves and a tiny model.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/teacher.sh"
# teach OUT MODEL OPTIONS...: prompts.jsonl to the endpoint.
teach() {
    local out=$1 model=$2
    shift 2
    "$HONE" data generate prompts.jsonl --endpoint "$url" --model "$model" -o "$out" -q "$@"
}
# has NAME FILE PYTHON: an expression over `rows`, the lines of FILE.
has() {
    python3 - "$2" "$3" 2>"$work/err" <<'P' && pass "$1" || fail "$1" "$(cat "$work/err")" "$(cat "$2")"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
assert eval(sys.argv[2]), sys.argv[2]
P
}

prompts "one thing" "letters" "it reasons" "in parts" "opened" "uncounted" >prompts.jsonl
echo '{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "several turns"}, {"role": "assistant", "content": "old"}]}' >>prompts.jsonl
echo '{"instruction": "read this", "context": "a text", "response": "old"}' >>prompts.jsonl
export A_KEY=sk-secret-123
expect "answers are kept" 0 "kept +8, 0 more" teach a.jsonl m --key-env A_KEY
has "eight of them, thought and response" a.jsonl 'len(rows) == 8 and all(r["thought"] and r["response"] for r in rows)'
has "keys, model, sampling, usage" a.jsonl 'all(len(r["key"]) == 64 and r["model"] == "m" and r["sampling"]["temperature"] == 0.7 and r["usage"]["completion_tokens"] for r in rows) and len({r["key"] for r in rows}) == 8'
has "UTF-8" a.jsonl 'any(r["response"] == "Grüße, \U0001f44b 世界" and r["thought"] == "Über – 数学" for r in rows)'
has "reasoning that comes apart" a.jsonl 'any(r["thought"] == "It came apart." and r["response"] == "Apart." for r in rows)'
has "a thought that the prompt opened" a.jsonl 'any(r["thought"] == "Begun before." and r["response"] == "Opened." for r in rows)'
has "usage that is missing is guessed" a.jsonl '[r["usage"].get("estimated") for r in rows if r["prompt"] == "uncounted"] == [True]'
has "an old answer isn't shown to the teacher" "$requests" 'not any("old" in json.dumps(r["request"]) for r in rows)'
has "a system text of the prompt's own comes first" "$requests" 'any(r["request"]["messages"][0]["content"].startswith("Be kind.\n\nAnswer") for r in rows)'
has "the key goes to the endpoint" "$requests" 'all(r["key"] == "Bearer sk-secret-123" and r["path"] == "/v1/chat/completions" for r in rows)'
grep -q secret a.jsonl out err && fail "and nowhere else" || pass "and nowhere else"
: >"$requests"
cp a.jsonl before.jsonl
expect "a second run asks nothing" 0 "kept +0, 8 more" teach a.jsonl m
[ ! -s "$requests" ] && cmp -s a.jsonl before.jsonl && pass "and changes nothing" || fail "and changes nothing"
expect "another temperature is another question" 0 "kept +8" teach a.jsonl m -T 0.5
expect_json "--json" teach a.jsonl m --json

# Answers that aren't fit.
prompts "refuse me" "declined" "filtered" "cutoff" "lengthy" "thoughtless" "fine" >prompts.jsonl
expect "what isn't fit is kept apart" 0 "rejected +6: reasons in r\.rejected\.jsonl" teach r.jsonl m
has "with its reason" r.rejected.jsonl '{r["prompt"]: r["reason"] for r in rows} == {"refuse me": "refusal", "declined": "refusal", "filtered": "refusal", "cutoff": "cut", "lengthy": "long", "thoughtless": "no thought"}'
has "the rest with the others" r.jsonl '[r["prompt"] for r in rows] == ["fine"]'
expect "it isn't asked again" 0 "kept +0, 7 more" teach r.jsonl m
expect "--plain needs no thought" 0 "kept +2" teach p.jsonl m --plain
has "and takes one away" p.jsonl '{r["prompt"] for r in rows} == {"thoughtless", "fine"}'

# Failures that pass.
prompts "busy" "dated" "stumbles" "hangs" "halved" "babbles" "chunks" >prompts.jsonl
: >"$requests"
expect "failures that pass are survived" 0 "kept +7" teach f.jsonl m --timeout 2 --parallel 7
has "each was tried again" "$requests" 'len(rows) == 15'
: >"$requests"
prompts "busy again" "other" >prompts.jsonl
expect "429" 0 "kept +2" teach f.jsonl m --parallel 1
has "Retry-After is heeded" "$requests" '0.95 <= [r["time"] for r in rows][1] - rows[0]["time"] < 5'
prompts "impossible" "possible" >prompts.jsonl
expect "one that is refused" 1 "no answer 1" teach i.jsonl m
has "costs no other" i.jsonl '[r["prompt"] for r in rows] == ["possible"]'
expect "its line and why are named" 1 "line 1 got no answer: HTTP 400: This prompt is impossible" \
    "$HONE" data generate prompts.jsonl --endpoint "$url/" --model m -o i2.jsonl

# Failures that don't pass.
prompts 1 2 3 4 5 6 7 8 >prompts.jsonl
expect "401" 3 "look at the key in A_KEY" teach x.jsonl gated --key-env A_KEY
grep -q secret out err && fail "a key that the server repeats isn't shown" "$(cat err)" ||
    pass "a key that the server repeats isn't shown"
expect "401 without a key" 3 "name the environment variable" teach x.jsonl gated
expect "404" 3 "HTTP 404.*--endpoint.*--model.*does not exist" teach x.jsonl gone
expect "a quota" 3 "quota is used up" teach x.jsonl poor
expect "a long Retry-After" 3 "again in 86400 s" teach x.jsonl later
expect "a redirect isn't followed" 3 "redirected" teach x.jsonl moved
expect "a server that is down" 3 "doesn't answer: HTTP 503: overloaded" teach x.jsonl down --retries 1
expect "a request that it doesn't like" 3 "HTTP 400: Unknown parameter here" teach x.jsonl picky
expect "nobody there" 3 "doesn't answer" "$HONE" data generate prompts.jsonl --endpoint http://127.0.0.1:9/v1 \
    --model m -o x.jsonl --retries 1
[ ! -s x.jsonl ] && pass "nothing is written" || fail "nothing is written" "$(cat x.jsonl)"
expect "no such variable" 2 "holds the key" teach x.jsonl m --key-env sk-secret-123
grep -q secret err && fail "it isn't shown either" || pass "it isn't shown either"
expect "no address" 2 "no address" "$HONE" data generate prompts.jsonl --endpoint ftp://x --model m -o x.jsonl
expect "no teacher" 2 "name one teacher" "$HONE" data generate prompts.jsonl -o x.jsonl
expect "no output" 2 "FILE is missing" "$HONE" data generate prompts.jsonl --endpoint "$url" --model m
expect "samples without a temperature" 2 "the same" teach x.jsonl m --samples 2 -T 0
expect "money without prices" 2 "needs --price" teach x.jsonl m --max-cost 1
expect "extra that is none" 3 "--extra" teach x.jsonl m --extra '{'
: >"$requests"
expect "more keys" 0 "kept +8" teach e.jsonl m --extra '{"max_tokens": null, "max_completion_tokens": 99}' -s "My words."
has "go into the requests" "$requests" 'all(r["request"]["max_completion_tokens"] == 99 and "max_tokens" not in r["request"] and r["request"]["messages"][0]["content"] == "My words." for r in rows)'
echo "Words in a file." >words.txt
: >"$requests"
expect "instructions in a file" 0 "kept +8" teach e.jsonl m -s words.txt
has "are read" "$requests" 'all(r["request"]["messages"][0]["content"] == "Words in a file.\n" for r in rows)'
for row in '{"what": 1}' '{"prompt": ""}' '{"messages": []}' '{"messages": [{"role": "user"}]}' '{'; do
    { prompts a; echo "$row"; } >bad.jsonl
    expect "a bad row: $row" 3 "bad\.jsonl:2" "$HONE" data generate bad.jsonl --endpoint "$url" --model m -o x.jsonl
done

# Several in flight, never more than asked for.
prompts $(seq -f "slowly%g" 12) >prompts.jsonl
: >"$requests"
expect "three in flight" 0 "kept +12" teach par.jsonl m --parallel 3
has "are three" "$requests" 'max(r["flying"] for r in rows) == 3'

# The budget: 150 tokens an answer; what is under way counts at its worst.
prompts $(seq 10) >prompts.jsonl
expect "a budget of tokens" 0 "not asked [1-9]" teach b.jsonl m --max-total-tokens 1000
has "is kept to" b.jsonl '3 <= len(rows) and sum(r["usage"]["prompt_tokens"] + r["usage"]["completion_tokens"] for r in rows) <= 1000'
n=$(wc -l <b.jsonl)
expect "what is left is said" 0 "left +[0-9]+ of 1000 tokens" teach b.jsonl m --max-total-tokens 1000
[ "$(wc -l <b.jsonl)" = "$n" ] && pass "it holds for earlier runs too" || fail "it holds for earlier runs too"
expect "a larger one goes on" 0 "kept +$((10 - n)), $n more" teach b.jsonl m --max-total-tokens 9000
expect "a budget of money" 0 "left +[0-9.]+ of 0.002 in money" teach c.jsonl m --max-cost 0.002 --price-in 1 --price-out 4
has "is kept to as well" c.jsonl '1 <= len(rows) and len(rows) * 0.0003 <= 0.002'

# kill -9 at any moment, and resume.
prompts $(seq -f "number%g" 40) >prompts.jsonl
"$HONE" data generate prompts.jsonl --endpoint "$url" --model slow -o k.jsonl --parallel 2 >out 2>err &
pid=$!
for _ in $(seq 100); do [ "$(wc -l <k.jsonl 2>/dev/null || echo 0)" -ge 4 ] && break; sleep 0.1; done
expect "two can't write one file" 3 "another process" teach k.jsonl m
kill -9 "$pid"
wait "$pid" 2>/dev/null
n=$(wc -l <k.jsonl)
[ "$n" -ge 4 ] && [ "$n" -lt 40 ] && pass "kill -9 leaves what came" || fail "kill -9 leaves what came" "$n lines"
tail -c +1 k.jsonl | head -c -7 >cut && cp cut k.jsonl # the last line half written
: >"$requests"
expect "the cut line is taken away" 0 "last line was cut off" \
    "$HONE" data generate prompts.jsonl --endpoint "$url" --model slow -o k.jsonl --parallel 8
has "all is there once" k.jsonl 'len(rows) == 40 and len({r["prompt"] for r in rows}) == 40'
has "and only what was missing is asked" "$requests" "len(rows) == 40 - $n + 1"
head -c -1 k.jsonl >cut && cp cut k.jsonl # only the line break is missing
expect "a line without its end" 0 "kept +0, 40 more" teach k.jsonl slow
has "is whole again" k.jsonl 'len(rows) == 40'
{ head -n 2 k.jsonl; echo '{"half": '; tail -n 2 k.jsonl; } >mid.jsonl
expect "a broken line inside is named" 3 "mid\.jsonl: line 3" teach mid.jsonl slow
prompts a >other.jsonl
expect "another file isn't written over" 3 "no \"key\"" teach other.jsonl m
prompts $(seq 8) >prompts.jsonl
"$HONE" data generate prompts.jsonl --endpoint "$url" --model slow -o int.jsonl --parallel 1 >out 2>err &
pid=$!
for _ in $(seq 100); do [ -s int.jsonl ] && break; sleep 0.1; done
kill -INT "$pid"
wait "$pid"
[ $? = 130 ] && [ -s int.jsonl ] && pass "Ctrl-C keeps what has come" || fail "Ctrl-C keeps what has come" "$(cat err)"
mkdir full
prompts $(seq 60) >prompts.jsonl
if mount -t tmpfs -o size=12k tmpfs full 2>/dev/null; then
    expect "a full disk" 3 "No space left" teach full/a.jsonl m
    has "leaves whole lines" full/a.jsonl 'len(rows) >= 1'
    umount full
else
    skip "a full disk" "no right to mount a small file system"
fi

# Several answers, judged.
prompts "votes" "plain words" >prompts.jsonl
expect "samples" 0 "kept +6" teach v.jsonl m --samples 3 --parallel 1
expect "rows with thoughts" 0 "2 rows from 2 prompts" "$HONE" data rows v.jsonl -o rkd.jsonl
has "the majority is kept" rkd.jsonl '[(r["instruction"], r["response"], r["share"]) for r in rows] == [("votes", "So:\n#### 12", 0.666667), ("plain words", "An answer to plain words.", 1.0)] and all(r["thought"] for r in rows)'
expect "hone reads them" 0 "2 rows are well" "$HONE" data check rkd.jsonl
expect "rows without thoughts" 0 "5 rows from 2" "$HONE" data rows v.jsonl --as sft --keep majority -o sft.jsonl
expect "hone reads those" 0 "5 rows are well" "$HONE" data check sft.jsonl
expect "prompts that disagree" 0 "1 prompts left out" "$HONE" data rows v.jsonl --min-share 0.9 -o s.jsonl
expect "pairs of the vote" 0 "1 rows from 2" "$HONE" data rows v.jsonl --as pairs --thoughts -o pairs.jsonl
has "the outvoted is rejected" pairs.jsonl 'rows[0]["chosen"].endswith("#### 12") and rows[0]["rejected"].endswith("The answer is 7.") and rows[0]["chosen"].startswith("<think>\n")'
expect "no critiques" 3 "come from --critique" "$HONE" data rows v.jsonl --as critiques -o none.jsonl
[ ! -e none.jsonl ] && pass "no rows, no file" || fail "no rows, no file"
expect "no samples are one" 3 "pairs need" "$HONE" data rows a.jsonl --as pairs -o none.jsonl
expect "no store" 3 "no file that hone data generate wrote" "$HONE" data rows rkd.jsonl -o none.jsonl
expect "critiques and wrong rewrites" 0 "kept +3, 6 more" teach v.jsonl m --samples 3 --parallel 1 --critique --hard-negatives
has "the ranking is of keys" v.jsonl '[len(r["ranking"]) for r in rows if r["kind"] == "critique"] == [3]'
expect "and there they stay" 0 "kept +0, 9 more" teach v.jsonl m --samples 3 --parallel 1 --critique --hard-negatives
expect "pairs of the ranking" 0 "4 rows from 2" "$HONE" data rows v.jsonl --as pairs -o pairs.jsonl
has "best against worse and wrong" pairs.jsonl '[(r["chosen"], r["rejected"]) for r in rows if r["prompt"] == "votes"] == [("The answer is 12.", "The answer is 7."), ("The answer is 12.", "So:\n#### 12"), ("The answer is 12.", "The answer is 13.")]'
expect "hone reads the pairs" 0 "4 rows are well" "$HONE" data check pairs.jsonl
expect "critiques as rows" 0 "1 rows" "$HONE" data rows v.jsonl --as critiques -o crit.jsonl
has "say which is best" crit.jsonl '"3. The answer is 12." in rows[0]["instruction"] and rows[0]["response"].endswith("The best is answer 3.")'
prompts "muddled votes" "the same" >prompts.jsonl
expect "a ranking that is none, a rewrite that isn't wrong" 0 "rejected +2" teach w.jsonl m --samples 3 --parallel 1 --critique --hard-negatives
has "are rejected" w.rejected.jsonl '{r["reason"] for r in rows} == {"no ranking", "the same"}'
echo '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}' >prompts.jsonl
expect "several turns" 0 "kept +1" teach t.jsonl m
expect "become messages" 0 "1 rows" "$HONE" data rows t.jsonl -o t.rkd.jsonl
has "with the thought inside" t.rkd.jsonl 'len(rows[0]["messages"]) == 4 and rows[0]["messages"][3]["content"].startswith("<think>\nIt is")'

exec 9>&-
wait

# A model on this machine.
cp -r "$here/../golden/models/llama" tiny
python3 - <<'P'
import json
c = json.load(open("tiny/tokenizer_config.json"))
c["chat_template"] = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
json.dump(c, open("tiny/tokenizer_config.json", "w"))
P
prompts one two >prompts.jsonl
# Its words are random, and at one level of instructions alone the same everywhere.
local_teach() { "$HONE" data generate prompts.jsonl --local tiny --plain -s "" -q -t 1 --isa scalar "$@"; }
expect "a local teacher" 0 "rejected +4" local_teach -n 8 --samples 2 -o l.jsonl
cat l.jsonl l.rejected.jsonl >all.jsonl
has "answers for every sample" all.jsonl 'len(rows) == 4 and all(r["model"] == "tiny" and r["usage"]["completion_tokens"] == 8 for r in rows) and len({r["response"] for r in rows}) == 4'
cp l.rejected.jsonl first
rm l.jsonl l.rejected.jsonl
expect "again" 0 "rejected +4" local_teach -n 8 --samples 2 -o l.jsonl
cmp -s first l.rejected.jsonl && pass "with the same words" || fail "with the same words"
rm l.rejected.jsonl
expect "one after the other" 0 "rejected +4" local_teach -n 8 --samples 2 --parallel 1 -o l.jsonl
sort first >a && sort l.rejected.jsonl | cmp -s - a && pass "the same words again" || fail "the same words again"
prompts $(seq 40) >prompts.jsonl
expect "more than the context holds at once" 0 "rejected +40" local_teach -n 50 --parallel 32 -o many.jsonl
prompts one two >prompts.jsonl
expect "answers that don't fit the context" 1 "no answer 2" local_teach -n 100000 -o l2.jsonl
finish

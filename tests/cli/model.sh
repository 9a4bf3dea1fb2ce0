# Commands over a model: what they print, what they refuse. On the real base model.
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
if [ ! -f "$BASE_MODEL" ]; then
    skip "commands over a model" "the base model isn't there (scripts/get-base-model)"
    finish
    exit
fi
M=$BASE_MODEL
cd "$work" || exit 1

expect "info" 0 "llama, 134\.5M parameters" "$HONE" info "$M"
expect_json "info --json" "$HONE" info "$M" --json --tensors
expect "info of no file" 3 "none\.gguf: No such file" "$HONE" info none.gguf
mkdir empty
expect "info of an empty folder" 3 "empty" "$HONE" info empty
echo "hello" >text.gguf
expect "info of a text" 3 "text\.gguf" "$HONE" info text.gguf
for n in 3 20 1000 100000 5000000; do
    head -c "$n" "$M" >cut.gguf
    expect "info of a file cut to $n bytes" 3 "cut\.gguf" "$HONE" info cut.gguf
done
: >nothing.gguf
expect "info of an empty file" 3 "nothing\.gguf" "$HONE" info nothing.gguf
rm -f cut.gguf

text='Héllo  wörld 👋🏽, <|im_start|> 1234'
expect "tokenize" 0 "'Hello'" "$HONE" tokenize "$M" "Hello there"
expect_json "tokenize --json" "$HONE" tokenize "$M" --json "$text"
"$HONE" tokenize "$M" --ids "$text" | "$HONE" detokenize "$M" >round
[ "$(cat round)" = "$text" ] && pass "text to ids to text" || fail "text to ids to text" "$(cat round)"
printf '%s' "$text" | "$HONE" tokenize "$M" --ids >a
"$HONE" tokenize "$M" --ids "$text" >b
cmp -s a b && pass "standard input is the same" || fail "standard input is the same"
expect "special tokens only when asked" 0 "^1$" "$HONE" tokenize "$M" --ids --special '<|im_start|>'
printf 'a\377b' >bad.txt
expect "text that is no UTF-8" 3 "" "$HONE" tokenize "$M" --file bad.txt
mkdir words
printf '%s' '{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}, "added_tokens": []}' \
    >words/tokenizer.json
printf '{"model_max_length": 1000000000000000019884624838656, "chat_template": "{%% for m in messages %%}{{ m.content }}{%% endfor %%}"}' \
    >words/tokenizer_config.json
expect "a tokenizer.json alone" 0 "^2 0$" "$HONE" tokenize words/tokenizer.json --ids aba
expect "a folder with only a tokenizer" 0 "^ab a$" "$HONE" detokenize words 2 0
echo '[{"role": "user", "content": "ab"}]' >words/m.json
expect "its chat template" 0 "^ab$" "$HONE" render words words/m.json
expect "a model it is not" 3 "words has no config\.json" "$HONE" info words
expect "text from a pipe of the shell" 0 "^2 0$" "$HONE" tokenize words --ids --file <(printf aba)
expect "an id that is none" 3 "token id 49152 is not below 49152" "$HONE" detokenize "$M" 49152
expect "an id that is none, among others" 3 "token id 60000 is not" "$HONE" detokenize "$M" "5 60000 7"
expect "an id that is no number" 3 "'x1' is no token id" "$HONE" detokenize "$M" 1 x1

echo '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]' >m.json
expect "render" 0 "^Be brief\.<\|im_end\|>$" "$HONE" render "$M" m.json
"$HONE" render "$M" m.json --no-generation-prompt | grep -q assistant &&
    fail "render without the assistant's turn" || pass "render without the assistant's turn"
expect_json "render --ids" "$HONE" render "$M" m.json --ids
echo '[{"role": "user", "content": "Hi"' >broken.json
expect "render of broken JSON" 3 "broken\.json" "$HONE" render "$M" broken.json
echo '{"a": 1}' >wrong.json
expect "render of something else" 3 "wanted a list of messages" "$HONE" render "$M" wrong.json

expect "logits" 0 "\(3, 49152\) float32" "$HONE" logits "$M" "The sky is" -o l.npy
python3 - <<'PYTHON' && pass "logits.npy is what NumPy reads" || fail "logits.npy is what NumPy reads"
import ast, struct
data = open("l.npy", "rb").read()
assert data[:8] == b"\x93NUMPY\x01\x00"
n, = struct.unpack("<H", data[8:10])
head = ast.literal_eval(data[10:10 + n].decode())
assert head == {"descr": "<f4", "fortran_order": False, "shape": (3, 49152)}, head
assert (10 + n) % 64 == 0 and len(data) == 10 + n + 4 * 3 * 49152
PYTHON
"$HONE" tokenize "$M" --ids "The sky is" >ids
expect "logits of ids" 0 "\(3, 49152\) float32" "$HONE" logits "$M" --ids --file ids -o ids.npy
cmp -s l.npy ids.npy && pass "ids give what their text gives" || fail "ids give what their text gives"
expect "logits of an id that is none" 3 "token id 49152 is not below" "$HONE" logits "$M" --ids "1 49152" -o x.npy
expect "logits to nowhere" 3 "none/l.npy" "$HONE" logits "$M" "Hi" -o none/l.npy
expect "logits onto a full disk" 3 "" "$HONE" logits "$M" "Hi" -o /dev/full/l.npy

expect "an unknown instruction set" 2 "isa|instruction|avx9" "$HONE" logits "$M" "Hi" --isa avx9
expect "perplexity of too short a text" 3 "" "$HONE" perplexity "$M" m.json

expect "chat -p" 0 "[A-Za-z]" "$HONE" chat "$M" -p "Say hello." -n 8
expect "an answer has a limit" 0 "default 512" "$HONE" help chat
expect "an answer that was cut says so" 0 "cut after 3 tokens" "$HONE" chat "$M" -p Hi -n 3 --ignore-eos
expect_json "no limit but the context" "$HONE" chat "$M" -p Hi -n 0 -c 64 --ignore-eos --json
python3 -c '
import json
a = json.load(open("out"))
assert a["finish"] == "length" and 64 <= a["n_prompt"] + a["n_generated"] <= 128, a' &&
    pass "its end" || fail "its end" "$(cat out)"
expect_json "chat --json" "$HONE" chat "$M" -p "Say hello." -n 8 --json
python3 -c '
import json
a = json.load(open("out"))
assert a["finish"] in ("stop", "length") and a["n_generated"] <= 8 and a["n_prompt"] > 5, a
assert 0 < a["first_token_ms"] <= a["total_ms"], a' && pass "its counts" || fail "its counts" "$(cat out)"
echo "Say hello." | "$HONE" chat "$M" -n 8 --json >a
cmp <(python3 -c 'import json; print(json.load(open("a"))["text"])') \
    <(python3 -c 'import json; print(json.load(open("out"))["text"])') &&
    pass "the prompt from standard input" || fail "the prompt from standard input"
for i in 1 2; do "$HONE" chat "$M" -p Hi -n 12 -T 1 --seed 7 >"s$i"; done
"$HONE" chat "$M" -p Hi -n 12 -T 1 --seed 8 >s3
cmp -s s1 s2 && ! cmp -s s1 s3 && pass "a seed gives one answer" || fail "a seed gives one answer" "$(cat s1 s2 s3)"
expect "a temperature below 0" 2 "--temperature: -1 is not between" "$HONE" chat "$M" -p Hi -T -1
expect "a bias for no token" 2 "--logit-bias" "$HONE" chat "$M" -p Hi --logit-bias 99999=1
echo '{"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 40}}, "required": ["n"]}' >n.json
expect_json "chat --json-schema" "$HONE" chat "$M" -p "Think of a number." -n 40 --json-schema n.json --json
python3 -c '
import json
a = json.load(open("out"))
assert a["finish"] == "stop" and 3 <= json.loads(a["text"])["n"] <= 40, a' && pass "its answer" || fail "its answer" "$(cat out)"
printf 'root ::= "colour: " ("red" | "blue") "!"\n' >g.gbnf
expect "chat --grammar" 0 "^colour: (red|blue)!$" "$HONE" chat "$M" -p "Name a colour." -T 1 --grammar g.gbnf
expect "it ends even without an end token" 0 "^colour: (red|blue)!$" "$HONE" chat "$M" -p Hi --grammar g.gbnf --ignore-eos
expect "a grammar from a pipe" 0 "^ja$" "$HONE" chat "$M" -p Hi --grammar <(echo 'root ::= "ja"')
expect "a grammar and a schema" 2 "exclude each other" "$HONE" chat "$M" -p Hi --grammar g.gbnf --json-schema n.json
expect "a grammar that isn't there" 3 "none\.gbnf" "$HONE" chat "$M" -p Hi --grammar none.gbnf
echo '{"type": "array", "uniqueItems": true}' >u.json
expect "a keyword that can't be honoured" 3 "u\.json: #/uniqueItems" "$HONE" chat "$M" -p Hi --json-schema u.json
printf 'root ::= root "a" | "b"\n' >left.gbnf
expect "left recursion" 3 "left\.gbnf: 'root' begins with itself" "$HONE" chat "$M" -p Hi --grammar left.gbnf
expect "an adapter that isn't there" 3 "nowhere" "$HONE" chat "$M" -p Hi --adapter nowhere
expect "an empty prompt" 3 "prompt is empty" bash -c ': | "$@"' pipe "$HONE" chat "$M"
"$HONE" chat "$M" --raw -p "One, two, three," -n 400 --ignore-eos >s4 2>err &
pid=$!
for _ in $(seq 100); do [ -s s4 ] && break; sleep 0.05; done
kill -INT "$pid"
wait "$pid"
[ $? = 130 ] && [ -s s4 ] && pass "Ctrl-C keeps the text so far" || fail "Ctrl-C keeps the text so far" "$(cat err)"
"$HONE" chat "$M" -p "Write a long story." -n 300 2>err | head -c 5 >/dev/null
[ "${PIPESTATUS[0]}" -le 1 ] && [ ! -s err ] && pass "a reader that leaves" || fail "a reader that leaves" "$(cat err)"

if ! python3 -c 'import pty; pty.openpty()' 2>/dev/null; then
    skip "chat and tables on a terminal" "no pseudo-terminal can be opened here (is /dev/pts mounted?)"
    finish
    exit
fi

talk() { # NAME STEP... -- OPTION...
    local name=$1
    shift
    local steps=()
    while [ "$1" != -- ]; do steps+=("$1"); shift; done
    shift
    TERM=xterm python3 "$here/pty_run.py" 70 "${steps[@]}" -- "$HONE" chat "$M" -n 8 "$@" >talk 2>&1
    code=$?
    [ "$code" = 0 ] && pass "$name" || fail "$name" "exit $code" "$(tail -c 600 talk)"
}
talk "a conversation" 'expect:2004h' 'type:Hi\r' 'expect:2004h' 'type:\x04' --
for how in none ngram "$M"; do
    "$HONE" chat "$M" -p "Say it again: one two three, one two three, one two" -n 24 --json --speculate "$how" >"spec.json" &&
        python3 -c 'import json; d = json.load(open("spec.json")); assert 0 <= d["n_accepted"] <= d["n_drafted"]; print(d["text"])' >"spec.$(basename "$how")"
done
if cmp -s spec.none spec.ngram && cmp -s spec.none "spec.$(basename "$M")"; then
    pass "speculation changes nothing"
else
    fail "speculation changes nothing" "$(head spec.none spec.ngram)"
fi
expect "a draft model that isn't there" 3 "speculate.*none\.gguf" "$HONE" chat "$M" -p hi --speculate none.gguf
talk "/commands" 'expect:2004h' 'type:/help\r' 'expect:/regen' 'expect:2004h' 'type:/params temperature 0.5\r' \
    'expect:2004h' 'type:/params\r' 'expect:temperature          0.5' 'type:/hepl\r' \
    'expect:did you mean /help' 'type:/system Be brief.\r' 'expect:2004h' 'type:Hi\r' 'expect:2004h' \
    'type:/regen\r' 'expect:2004h' 'type:/save talk.json\r' 'expect:saved 3 messages' \
    'type:/reset\r' 'expect:new conversation' 'type:/load talk.json\r' 'expect:loaded 3' 'type:/quit\r' --
python3 -c '
import json
roles = [m["role"] for m in json.load(open("talk.json"))]
assert roles == ["system", "user", "assistant"], roles' && pass "what /save wrote" || fail "what /save wrote"
talk "Ctrl-C stops the answer, not the program" 'expect:2004h' 'type:Count to one thousand.\r' 'wait:0.8' \
    'type:\x03' 'expect:[stopped]' 'expect:2004h' 'type:\x04' -- --ignore-eos -n 2000
# A paste is typed only when the terminal is in raw mode: before that the kernel would edit it.
talk "Ctrl-C while typing, editing, history, paste" 'expect:2004h' 'type:abc\x03' 'expect:2004h' \
    'type:/hel\x01x\x7f\x05p\r' 'expect:this list' 'expect:2004h' 'type:\x1b[A\r' 'expect:this list' \
    'expect:2004h' 'type:\x1b[200~one\ntwo\x1b[201~\x15' 'wait:0.5' 'type:/quit\r' --

narrow=$(TERM=xterm python3 "$here/pty_run.py" 40 -- "$HONE" info "$M" --tensors | tr -d '\r' |
    sed 's/\x1b\[[0-9;]*m//g' | sed -n '/^tensor/,$p' | python3 -c '
import sys
print(max(len(line.rstrip("\n")) for line in sys.stdin))')
[ "$narrow" -le 40 ] && pass "a table on a narrow terminal" || fail "a table on a narrow terminal" "$narrow"
TERM=xterm python3 "$here/pty_run.py" 80 -- "$HONE" info "$M" | grep -q $'\x1b\[1m' && pass "colours on a terminal" ||
    fail "colours on a terminal"
NO_COLOR=1 TERM=xterm python3 "$here/pty_run.py" 80 -- "$HONE" info "$M" | grep -q $'\x1b' &&
    fail "NO_COLOR" || pass "NO_COLOR"
finish

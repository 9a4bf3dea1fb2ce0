# For end-to-end tests on the real model: a folder with model.gguf and some rows of the example.
. "$(dirname "$0")/../cli/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ ! -f "$BASE_MODEL" ]; then
    skip "on the real model" "the base model isn't there (scripts/get-base-model)"
    finish
    exit
fi
cd "$work" || exit 1
mkdir bin && ln -s "$HONE" bin/hone
PATH=$work/bin:$PATH
ln -s "$BASE_MODEL" model.gguf
head -n 24 "$root/examples/intent-router/train.jsonl" >train.jsonl
head -n 16 "$root/examples/intent-router/golden.jsonl" >golden.jsonl
head -n 12 "$root/examples/digital-clone/preferences.jsonl" >pairs.jsonl
head -n 12 "$root/examples/digital-clone/rkd.jsonl" >thoughts.jsonl
awk '/^```yaml$/ { on = 1; next } /^```/ { if (on) exit } on' "$root/docs/recipe.md" >three.yaml
head -c 4000 "$root/docs/architecture.md" >text.txt

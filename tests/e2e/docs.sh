# Every command in the documents' sh blocks runs, page by page.
. "$(dirname "$0")/lib.sh"
for page in "$root"/docs/*.md; do
    name=$(basename "$page" .md)
    awk '/^```sh$/ { on = 1; next } /^```/ { on = 0 } on' "$page" >commands
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        bash -o pipefail -c "$line" >out 2>err </dev/null && pass "$name: $line" ||
            fail "$name: $line" "exit $?" "$(tail -n 5 err)"
    done <commands
done
finish

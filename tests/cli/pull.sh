# hone pull against a local hub: redirects, resume, sums, refusals, the token, the cache, offline.
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
mkdir "$work/server"
mkfifo "$work/stop"
python3 "$here/../server/hub_server.py" "$work/server" <"$work/stop" &
exec 9>"$work/stop" # the server lives as long as this end is open
for _ in $(seq 100); do [ -f "$work/server/ports" ] && break; sleep 0.1; done
read -r hub cdn <"$work/server/ports"
export HF_ENDPOINT=http://127.0.0.1:$hub HONE_CACHE=$work/cache
unset HF_TOKEN http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy
requests=$work/server/requests.jsonl

expect "pull prints the folder" 0 "hub/t--ok/snapshots/[0-9a-f]{40}$" "$HONE" pull t/ok
dir=$(cat "$work/out")
[ "$(sha256sum <"$dir/model-00001-of-00002.safetensors")" = \
  "$(python3 -c 'import sys; sys.stdout.buffer.write(bytes(i * 7 & 255 for i in range(300000)))' | sha256sum)" ] &&
    [ -f "$dir/model-00002-of-00002.safetensors" ] && [ -f "$dir/config.json" ] &&
    pass "several shards, whole" || fail "several shards, whole" "$(ls -l "$dir")"
[ ! -e "$dir/pytorch_model.bin" ] && [ ! -e "$dir/onnx" ] && pass "only what a model needs" ||
    fail "only what a model needs" "$(ls "$dir")"
: >"$requests"
expect_json "a second pull, --json" "$HONE" pull t/ok --json
grep -q '"downloaded_bytes": 0' "$work/out" && ! grep -q '"cdn"' "$requests" &&
    pass "a second pull loads nothing" || fail "a second pull loads nothing" "$(cat "$work/out")"

expect "broken connections are resumed" 0 "snapshots" "$HONE" pull t/broken
grep -q '"range": "bytes=70000-"' "$requests" && pass "by Range" || fail "by Range" "$(cat "$requests")"
[ "$(sha256sum <"$(cat "$work/out")/model-00001-of-00002.safetensors")" = \
  "$(sha256sum <"$dir/model-00001-of-00002.safetensors")" ] && pass "with the same bytes" ||
    fail "with the same bytes"

# A download that was stopped goes on; a server that ignores Range starts over.
blob=$(sha256sum <"$dir/model-00001-of-00002.safetensors" | cut -d ' ' -f 1)
mkdir -p "$HONE_CACHE/hub/t--norange/blobs"
head -c 1000 /dev/zero >"$HONE_CACHE/hub/t--norange/blobs/$blob.incomplete"
expect "a server without Range" 0 "snapshots" "$HONE" pull t/norange

expect "a wrong sum is thrown away" 3 "sum of what came is [0-9a-f]{64}, not" "$HONE" pull t/wrongsum
[ -z "$(find "$HONE_CACHE/hub/t--wrongsum" -name '*.incomplete')" ] && pass "nothing is left of it" ||
    fail "nothing is left of it"
[ ! -e "$HONE_CACHE/hub/t--wrongsum/refs" ] && pass "it isn't in the cache" || fail "it isn't in the cache"

expect "no token" 3 "HTTP 401.*HF_TOKEN" "$HONE" pull t/gated
: >"$requests"
expect "with a token" 0 "snapshots" env HF_TOKEN=secret "$HONE" pull t/gated
grep -q '"hub".*Bearer secret' "$requests" && pass "the hub sees it" || fail "the hub sees it"
grep '"cdn"' "$requests" | grep -q secret && fail "no other host sees it" || pass "no other host sees it"

expect "too many requests pass" 0 "snapshots" "$HONE" pull t/busy
expect "HTTP 500 is reported" 3 "HTTP 500" "$HONE" pull t/err500 --retries 1
expect "no such model" 3 "HTTP 404.*name" "$HONE" pull t/unknown
expect "no such revision" 3 "HTTP 404" "$HONE" pull t/ok --revision v9
expect "a revision" 0 "snapshots" "$HONE" pull t/ok --revision v1
expect "a renamed model" 0 "snapshots" "$HONE" pull t/old
expect "a hostile file name" 3 "refused" "$HONE" pull t/evil
[ -z "$(find "$work" -name 'evil*')" ] && pass "writes nothing outside" || fail "writes nothing outside"
expect "a model of no use" 3 "neither safetensors nor GGUF" "$HONE" pull t/none
expect "the only GGUF" 0 "weights\.gguf$" "$HONE" pull t/gguf
expect "several GGUFs" 3 "--include NAME: a.Q4_1.gguf, b.Q8_0.gguf" "$HONE" pull t/ggufs
expect "one of several" 0 "b\.Q8_0\.gguf$" "$HONE" pull t/ggufs --include 'b.*'
expect "a wrong name" 2 "neither a file" "$HONE" pull "../etc"
expect "a wrong revision" 2 "no branch" "$HONE" pull t/ok --revision '../x'

url=http://127.0.0.1:$hub/files/broken.gguf
expect "an address" 0 "hub/urls/[0-9a-f]{16}/broken\.gguf$" "$HONE" pull "$url"
cmp -s "$(cat "$work/out")" "$dir/model-00001-of-00002.safetensors" && pass "whole" || fail "whole"
expect "an address, wrong sum" 3 "sum of what came" "$HONE" pull "${url/broken/x}" --sha256 "$(printf %064d 0)"
expect "an address, right sum" 0 "y\.gguf" "$HONE" pull "${url/broken/y}" --sha256 "$blob"
expect "a file" 0 "config\.json$" "$HONE" pull "$dir/config.json"
expect "a file, wrong sum" 3 "sum" "$HONE" pull "$dir/config.json" --sha256 "$blob"

"$HONE" pull t/slow >"$work/out" 2>"$work/err" &
pid=$!
for _ in $(seq 50); do
    [ -s "$(find "$HONE_CACHE/hub/t--slow" -name '*.incomplete' 2>/dev/null | head -1)" ] && break
    sleep 0.1
done
kill -INT "$pid"
wait "$pid"
[ $? = 130 ] && [ -n "$(find "$HONE_CACHE/hub/t--slow" -name '*.incomplete')" ] &&
    pass "Ctrl-C keeps what has come" || fail "Ctrl-C keeps what has come" "$(cat "$work/err")"
expect "and the next pull goes on" 0 "snapshots" "$HONE" pull t/slow
mkdir "$work/full"
if mount -t tmpfs -o size=400k tmpfs "$work/full" 2>/dev/null; then
    expect "a full disk" 3 "No space left" env HONE_CACHE="$work/full" "$HONE" pull t/ok
    umount "$work/full"
else
    skip "a full disk" "no right to mount a small file system"
fi
if [ "$(id -u)" != 0 ]; then
    mkdir -m 500 "$work/locked"
    expect "no write permission" 3 "Permission denied" env HONE_CACHE="$work/locked" "$HONE" pull t/ok
else
    expect "no write permission" 3 "proc" env HONE_CACHE=/proc/none "$HONE" pull t/ok
fi

exec 9>&-
wait
start=$(date +%s)
expect "offline: the cached copy" 0 "snapshots" "$HONE" pull t/ok
expect "offline: the cache is named" 3 "in the cache: .*t/ok" "$HONE" pull t/other
expect "offline by request" 3 "offline was asked for; in the cache" "$HONE" pull t/other --offline
[ $(($(date +%s) - start)) -le 3 ] && pass "offline at once" || fail "offline at once"
finish

# hone serve as a program: its options, the line that says where it listens, its end.
. "$(dirname "$0")/lib.sh"
if [ "$HONE_SERVES" = 0 ]; then
    expect "a build without libevent says so" 3 "built without libevent" "$HONE" serve model.gguf
    finish
    exit
fi
expect "no model is wrong usage" 2 "MODEL" "$HONE" serve
expect "a certificate needs its key" 2 "tls-key" "$HONE" serve m.gguf --tls-cert c.pem
expect "a port has limits" 2 "between 0 and 65535" "$HONE" serve m.gguf --port 65536
expect "slots have, too" 2 "between 1 and 512" "$HONE" serve m.gguf --slots 600
expect "a model that isn't there" 3 "nothing.gguf" "$HONE" serve "$work/nothing.gguf" --port 0
expect "keys that aren't there" 3 "keys.txt" "$HONE" serve "$work/nothing.gguf" --port 0 --api-keys "$work/keys.txt"
expect "an address that isn't ours" 3 "192.0.2.1" "$HONE" serve "$work/nothing.gguf" --host 192.0.2.1

# serve NAME ARGUMENT...: starts it; $address is where it listens, "" if it failed.
serve() {
    : >"$work/err"
    "$HONE" serve "$@" >"$work/said" 2>"$work/err" </dev/null &
    server=$!
    address=
    for _ in $(seq 600); do
        address=$(grep -oE '(http|unix)[s]?:[^ ]+$' "$work/err" | head -1)
        [ -n "$address" ] || ! kill -0 $server 2>/dev/null && break
        sleep 0.1
    done
}
if [ ! -f "$BASE_MODEL" ]; then
    skip "serving a model" "no base model"
else
    serve "$BASE_MODEL" --port 0 --weights-cache off
    [ -n "$address" ] && pass "it says where it listens" || fail "it says where it listens" "$(cat "$work/err")"
    expect "/ready" 0 '"ready"' python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1] + "/ready").read())' "$address"
    if [ "$(uname)" = Linux ]; then
        grep -q 'NoNewPrivs:.1' /proc/$server/status && grep -q 'Seccomp:.2' /proc/$server/status &&
            pass "the sandbox is in force" || fail "the sandbox is in force" "$(cat "$work/err")"
    fi
    kill -TERM $server
    wait $server
    code=$?
    [ "$code" = 0 ] && pass "SIGTERM ends it with 0" || fail "SIGTERM ends it with 0" "exit $code" "$(cat "$work/err")"
    [ -s "$work/said" ] && fail "nothing on standard output" "$(head -3 "$work/said")" || pass "nothing on standard output"
fi
finish

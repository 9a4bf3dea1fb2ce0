# The static program of examples/serve/Dockerfile, in a folder with nothing else in it, as nobody: it
# serves. The units of systemd are well-formed.
. "$(dirname "$0")/lib.sh"
if [ "$HONE_SERVES" = 0 ]; then
    skip "the image" "this build has no libevent"
    finish
    exit
fi
mkdir -p image/bin image/models
if "$root/scripts/build-static" image/bin/hone 2>build.log; then
    pass "a static program"
else
    fail "a static program" "$(tail -n 3 build.log)"
fi
size=$(stat -c %s image/bin/hone 2>/dev/null || echo 0)
[ "$size" -gt 0 ] && [ "$size" -lt 30000000 ] && pass "under 30 MB" || fail "under 30 MB" "$size bytes"
# A copy: the cache's folder may be closed to nobody.
cp model.gguf image/models/model.gguf
chmod -R a+rX "$work"
if ! chroot --userspec=65534:65534 image /bin/hone --version >/dev/null 2>&1; then
    skip "it serves as nobody with nothing round it" "chroot needs root"
else
    timeout -s TERM 20 chroot --userspec=65534:65534 image /bin/hone serve --host 127.0.0.1 --weights-cache off \
        --port 0 --drain 1 /models/model.gguf 2>said </dev/null &
    server=$!
    for _ in $(seq 100); do grep -q listening said && break; sleep 0.1; done
    address=$(grep -oE 'http://[^ ]+$' said | head -1)
    expect "it serves as nobody with nothing round it" 0 ready \
        python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1] + "/ready").read())' "$address"
    kill $server
    wait $server
fi
if command -v systemd-analyze >/dev/null; then
    mkdir units && cp "$root"/examples/serve/hone.* units
    sed -i "s|/usr/local/bin/hone|$HONE|" units/hone.service
    expect "systemd's units" 0 "" systemd-analyze verify --man=no units/hone.socket units/hone.service
    grep -q hone. err && fail "without a warning" "$(grep hone. err)" || pass "without a warning"
else
    skip "systemd's units" "no systemd-analyze"
fi
finish

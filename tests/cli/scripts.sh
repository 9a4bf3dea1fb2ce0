# The rules that scripts check: layers and style. The count of test cases, with reasons.
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
expect "layers" 0 "" "$root/scripts/check-layers"
expect "style" 0 "" "$root/scripts/check-style"
python3 - >"$work/log.json" <<'END'
import json
said = """[ RUN      ] test_level
skipped: this machine lacks it
[       OK ] test_level
[ RUN      ] test_data
skipped: no data
[  SKIPPED ] test_data
[ RUN      ] test_wrong
[  FAILED  ] test_wrong
"""
print(json.dumps({"name": "cases", "result": "FAIL", "stdout": said, "stderr": "[  SKIPPED ] test_data\n"}))
print(json.dumps({"name": "lines", "result": "OK", "stdout": "ok 1 - a\nok 2 - b # SKIP no model\n"}))
print(json.dumps({"name": "killed", "result": "TIMEOUT", "stdout": "ok 1 - a\n"}))
END
expect "test cases that failed" 1 "^failed: log: cases: test_wrong$" "$root/scripts/count-tests" "log=$work/log.json"
for line in "skipped: log: cases: test_data # SKIP no data" "skipped: log: lines: b # SKIP no model" \
    "failed: log: killed: killed (TIMEOUT)" "3 passed, 2 failed, 2 skipped"; do
    grep -qxF "$line" "$work/out" && pass "counted: ${line%% #*}" || fail "counted: ${line%% #*}" "$(cat "$work/out")"
done
finish

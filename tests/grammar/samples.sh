# Answers of the real base model under 20 schemas, at temperature 1, all of which the Python package
# jsonschema must accept. HONE_TEST_SAMPLES says how many (60).
. "$(dirname "$0")/../cli/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
python=${HONE_TEST_PYTHON:-python3}
if [ ! -f "$BASE_MODEL" ]; then
    skip "samples under schemas" "the base model isn't there (scripts/get-base-model)"
    finish
    exit
fi
if ! "$python" -c 'import jsonschema' 2>/dev/null; then
    skip "samples under schemas" "no Python with jsonschema (scripts/test-python makes one; HONE_TEST_PYTHON names it)"
    finish
    exit
fi
if ! "$SAMPLE" "$BASE_MODEL" "$here/schemas.json" "${HONE_TEST_SAMPLES:-60}" "${HONE_TEST_SEED:-1}" >"$work/samples"; then
    fail "the samples are made"
    finish
    exit
fi
"$python" "$here/validate.py" "$here/schemas.json" <"$work/samples"

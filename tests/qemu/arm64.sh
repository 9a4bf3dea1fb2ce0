# The arm64 program on the real model under qemu-user, for each level on a processor of which it is
# the best: what it answers is what the native program answers. HONE is the arm64 program and
# HONE_NATIVE the native one.
. "$(dirname "$0")/lib.sh"
needs qemu-aarch64 "arm64 processors"

while read -r cpu level higher; do
    on=(qemu-aarch64 -cpu "$cpu")
    expect "$cpu: its best level is $level" 2 "can't execute .* $higher; its best is $level" \
        "${on[@]}" "$HONE" chat "$BASE_MODEL" -p x --isa "$higher"
    expect "$cpu: kernels" 0 "^$level: native" "${on[@]}" "$CHECK_KERNELS" --native "$level"
    grep FAILED "$work/out" | head -n 5 | sed 's/^/#   /'
done <<'LEVELS'
cortex-a53 neon dotprod
cortex-a76 dotprod i8mm
max i8mm avx2
LEVELS

if [ ! -f "$BASE_MODEL" ]; then
    skip "the real model" "it isn't there (scripts/get-base-model)"
elif [ ! -x "${HONE_NATIVE:-}" ]; then
    skip "the real model" "no native program to compare with (HONE_NATIVE)"
elif answer 16 env HONE_ISA=scalar "$HONE_NATIVE"; then
    native=$text
    for cpu in cortex-a53 cortex-a76 max; do
        answer 16 qemu-aarch64 -cpu "$cpu" "$HONE" && same_answer "$cpu: 16 tokens" "$native" "$text"
    done
    run qemu-aarch64 -cpu cortex-a53 "$HONE" logits "$BASE_MODEL" "$PROMPT" -q -o "$work/arm64.npy" &&
        run "$HONE_NATIVE" logits "$BASE_MODEL" "$PROMPT" -q -o "$work/native.npy"
    # Sums of up to 1536 products in another order: 3e-5 was measured between x86's levels.
    if said=$(python3 "$here/compare.py" logits "$work/arm64.npy" "$work/native.npy" 1e-3 2>&1); then
        pass "logits in f32: $said"
    else
        fail "logits in f32" "$said"
    fi
fi
finish

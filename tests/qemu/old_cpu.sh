# An illegal instruction is impossible: on emulated older processors the program takes the level that
# CPUID tells, refuses a higher one by name, and answers. HONE and CHECK_KERNELS are the native ones.
. "$(dirname "$0")/lib.sh"
needs qemu-x86_64 "older processors"

while read -r cpu level higher; do
    on=(qemu-x86_64 -cpu "$cpu")
    expect "$cpu: starts" 0 "^hone " "${on[@]}" "$HONE" --version
    expect "$cpu: its best level is $level" 2 "can't execute .* $higher; its best is $level" \
        "${on[@]}" "$HONE" chat "$BASE_MODEL" -p x --isa "$higher"
    expect "$cpu: HONE_ISA is refused alike" 2 "its best is $level" \
        env HONE_ISA="$higher" "${on[@]}" "$HONE" chat "$BASE_MODEL" -p x
    expect "$cpu: kernels" 0 "^avx512vnni: " "${on[@]}" "$CHECK_KERNELS"
    if [ ! -f "$BASE_MODEL" ]; then
        skip "$cpu: an answer" "the base model isn't there (scripts/get-base-model)"
    elif answer 4 "${on[@]}" "$HONE"; then
        emulated=$text
        answer 4 env HONE_ISA="$level" "$HONE" && same_answer "$cpu: an answer" "$text" "$emulated"
    fi
done <<'LEVELS'
Nehalem scalar avx2
Haswell avx2 avx512vnni
LEVELS
finish

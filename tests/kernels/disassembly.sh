# Each level's objects hold its own instruction sets only: a wider register in a lower level's file is an
# illegal instruction on somebody's machine, which no test on this machine would see. BUILD is the build
# folder.
. "$(dirname "$0")/../cli/lib.sh"

if ! command -v objdump >/dev/null; then
    skip "instruction sets" "no objdump (package binutils)"
    finish
    exit
fi

# Registers and instructions that a level has and those below it don't.
sse4='^(pshufb|pabs|popcnt|crc32|ptest|pmulld|round[ps][sd]|pmov[sz]x|blendv|pextr[bdq]|pinsr[bdq]|dpp[sd])'
avx='%ymm|^v[a-z]'
fma='^vf(n?m)(add|sub)|^vcvtp[hs]2p[hs]'
vex_vnni='^\{vex\} vpdp'
avx512='%zmm|%k[0-7]|[xyz]mm(1[6-9]|2[0-9]|3[01])|^vpdp|^\{evex\}'
bf16='bf16'
tiles='%tmm|^tdp|tilecfg|^tile'

# has NAME FILE REGEX; lacks NAME FILE REGEX
has() {
    grep -qE -- "$3" "$2" && pass "$1" || fail "$1" "none of: $3"
}
lacks() {
    local found
    found=$(grep -E -- "$3" "$2" | sort | uniq -c | sort -rn | head -n 3)
    [ -z "$found" ] && pass "$1" || fail "$1" "$found"
}

while read -r level folder; do
    objdump -d --no-show-raw-insn "$BUILD/$folder.a.p"/*.o 2>"$work/err" |
        sed -n 's/^ *[0-9a-f]*:\t//p' >"$work/code"
    if [ ! -s "$work/code" ]; then
        fail "$level: $folder" "nothing to read" "$(head -n 3 "$work/err")"
        continue
    fi
    name="$level ($folder)"
    case $level in
    base)
        lacks "$name: SSE2 alone" "$work/code" "$sse4|$avx|$tiles"
        ;;
    avx2)
        has "$name: ymm registers" "$work/code" '%ymm'
        lacks "$name: nothing of AVX-VNNI, AVX-512, tiles" "$work/code" "$vex_vnni|$avx512|$tiles|$bf16"
        ;;
    avx2-no-fma)
        has "$name: ymm registers" "$work/code" '%ymm'
        lacks "$name: nothing of FMA, AVX-512" "$work/code" "$fma|$avx512|$tiles"
        ;;
    avxvnni)
        has "$name: vpdpbusd" "$work/code" "$vex_vnni"
        lacks "$name: no wider registers" "$work/code" '%zmm|%k[0-7]|[xy]mm(1[6-9]|2[0-9]|3[01])|%tmm'
        ;;
    avx512vnni)
        has "$name: vpdpbusd on zmm" "$work/code" '^vpdpbusd.*%zmm'
        lacks "$name: nothing of bf16, tiles" "$work/code" "$bf16|$tiles"
        ;;
    avx512)
        has "$name: zmm registers" "$work/code" '%zmm'
        lacks "$name: nothing of VNNI, bf16, tiles" "$work/code" "vpdp|$bf16|$tiles"
        ;;
    avx512bf16)
        has "$name: vdpbf16ps" "$work/code" '^vdpbf16ps.*%zmm'
        lacks "$name: no tiles" "$work/code" "$tiles"
        ;;
    amx)
        has "$name: tdpbsud" "$work/code" '^tdpbsud'
        has "$name: tdpbf16ps" "$work/code" '^tdpbf16ps'
        has "$name: tilerelease" "$work/code" '^tilerelease'
        ;;
    esac
done <<'FOLDERS'
base libhone_core
base libhone_tools
base src/cli/libhone_cli
avx2 src/kernels/libkernels_avx2
avx2 src/model/libmodel_avx2
avx2 src/train/libtrain_ops_avx2
avx2-no-fma src/release/librow_ops_avx2
avxvnni src/kernels/libkernels_avxvnni
avx512vnni src/kernels/libkernels_avx512vnni
avx512 src/model/libmodel_avx512
avx512 src/train/libtrain_ops_avx512
avx512bf16 src/kernels/libkernels_avx512bf16
amx src/kernels/libkernels_amx
FOLDERS
finish

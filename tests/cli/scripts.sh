# The rules that scripts check: layers and style.
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
expect "layers" 0 "" "$root/scripts/check-layers"
expect "style" 0 "" "$root/scripts/check-style"
finish

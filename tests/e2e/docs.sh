# Every command in the documents' sh blocks runs, page by page; those with mpirun where the program has MPI.
. "$(dirname "$0")/lib.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
for page in "$root"/docs/*.md; do
    name=$(basename "$page" .md)
    awk '/^```sh$/ { on = 1; next } /^```/ { on = 0 } on' "$page" >commands
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        if [[ "$line" = mpirun* && "${HONE_MPI:-0}" != 1 ]]; then
            skip "$name: $line" "this build has no MPI (meson setup -Dmpi=enabled)"
            continue
        fi
        bash -o pipefail -c "$line" >out 2>err </dev/null && pass "$name: $line" ||
            fail "$name: $line" "exit $?" "$(tail -n 5 err)"
    done <commands
done
finish

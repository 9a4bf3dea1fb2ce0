# A teacher that misbehaves on demand, for scripts that have sourced lib.sh: in a folder of its own, which becomes the
# working one, a local endpoint at $url whose requests are in $requests; prompts TEXT... makes rows.
here=$(cd "$(dirname "$0")" && pwd)
cd "$work" || exit 1
mkdir server
mkfifo stop
python3 "$here/../server/teacher_server.py" server <stop &
exec 9>stop # the server lives as long as this end is open
for _ in $(seq 100); do [ -f server/port ] && break; sleep 0.1; done
url=http://127.0.0.1:$(cat server/port)/v1
unset http_proxy HTTP_PROXY ALL_PROXY all_proxy
requests=server/requests.jsonl
prompts() { for text in "$@"; do printf '{"prompt": "%s"}\n' "$text"; done; }

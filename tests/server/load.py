"""`hone serve` under load: answers are those of a lone request whatever else goes on; clients hang up,
read slowly, are cut off by kill -9; a drain finishes what runs. Prints TAP lines."""
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time

from serving import HONE, tiny_model
from tap import SLOW, check, finish, skip, work

SECONDS = float(os.environ.get("HONE_TEST_LOAD_S", "5"))
path = os.path.join(work, "hone.sock")
keys = os.path.join(work, "keys")
with open(keys, "w") as out:
    out.write("sk-load-test\n")


class Connection(http.client.HTTPConnection):
    def __init__(self):
        super().__init__("hone", timeout=60 * SLOW)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(path)


class Process:
    """hone serve on the unix socket, with its sandbox."""

    def __init__(self, model):
        args = [HONE, "serve", "tiny=" + model, "--unix-socket", path, "--api-keys", keys, "--access-log", "none",
                "--slots", "8", "--ctx", "512"]
        if os.environ.get("HONE_TEST_SANITIZER"):
            args.append("--no-sandbox")
        self.log = open(os.path.join(work, "said"), "ab")
        self.process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=self.log, stdin=subprocess.DEVNULL,
                                        env=dict(os.environ, HONE_WEIGHTS_CACHE_GB="0"))
        until = time.time() + 60 * SLOW
        while time.time() < until:
            try:
                if ask("/ready")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        check("the server starts", False, open(os.path.join(work, "said")).read()[-500:])
        finish()

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ask(target, body=None):
    c = Connection()
    c.request("POST" if body else "GET", target, json.dumps(body) if body else None,
              {"Authorization": "Bearer sk-load-test"})
    reply = c.getresponse()
    text = reply.read().decode()
    c.close()
    return reply.status, text


def request(i):
    """Requests of mixed lengths, of which some share a beginning."""
    words = " ".join(f"word{i * 7 % (5 + j)}" for j in range(i * 5 % 37))
    return {"messages": [{"role": "system", "content": "You count words. " * (i % 4)},
                         {"role": "user", "content": words + str(i)}],
            "max_tokens": 4 + i * 3 % 40, "temperature": 0 if i % 2 else 0.8, "seed": i, "stream": i % 3 == 0}


def answer(i):
    """Status and the text of the answer."""
    body = request(i)
    status, text = ask("/v1/chat/completions", body)
    if status != 200:
        return status, text
    if not body["stream"]:
        return status, json.loads(text)["choices"][0]["message"]["content"]
    events = [e[6:] for e in text.split("\n\n") if e.startswith("data: ")]
    if events[-1] != "[DONE]":
        return 0, text
    return status, "".join(json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events[:-1]
                           if json.loads(e)["choices"])


def hang_up(rng):
    """A request whose client goes at some moment."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    body = json.dumps(dict(request(rng.randrange(60)), stream=True, max_tokens=200)).encode()
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-load-test\r\n"
              b"Content-Length: %d\r\n\r\n" % len(body) + body[:rng.choice((10, len(body), len(body)))])
    time.sleep(rng.random() * 0.1)
    s.close()


N_REQUESTS = 60
model = tiny_model()
server = Process(model)
alone = [answer(i) for i in range(N_REQUESTS)]
check("every request has an answer alone", all(status == 200 for status, _ in alone),
      [a for a in alone if a[0] != 200][:2])

wrong, done, ends, residents = [], [0], [threading.Event()], []


def client(seed):
    rng = random.Random(seed)
    while not ends[0].is_set():
        i = rng.randrange(N_REQUESTS)
        try:
            got = answer(i)
        except (OSError, http.client.HTTPException) as error:
            got = (0, repr(error))
        if got != alone[i]:
            wrong.append((i, got, alone[i]))
        done[0] += 1


def leaver(seed):
    rng = random.Random(seed)
    while not ends[0].is_set():
        try:
            hang_up(rng)
        except OSError:
            time.sleep(0.05)


def start(target, n):
    threads = [threading.Thread(target=target, args=(i,), daemon=True) for i in range(n)]
    for thread in threads:
        thread.start()
    return threads


threads = start(client, 12) + start(leaver, 4)
time.sleep(SECONDS * 0.4)
residents.append(server.resident())
time.sleep(SECONDS * 0.6)
residents.append(server.resident())
ends[0].set()
for thread in threads:
    thread.join(60 * SLOW)
check(f"{done[0]} answers beside hang-ups, each that of a lone request", done[0] > 12 and not wrong, wrong[:2])
if os.environ.get("HONE_TEST_SANITIZER"):
    skip("memory doesn't grow", "the sanitizer keeps what was freed")
else:
    check("memory doesn't grow", residents[1] < residents[0] + (8 << 20), residents)
until = time.time() + 20 * SLOW
while time.time() < until and 'num_requests_running{model="tiny"} 0' not in ask("/metrics")[1]:
    time.sleep(0.1)
text = ask("/metrics")[1]
check("nothing is left running", 'num_requests_running{model="tiny"} 0' in text and
      'num_requests_waiting{model="tiny"} 0' in text, [l for l in text.splitlines() if "num_requests" in l])
check("and it answers as before", [answer(i) for i in (0, 1, 2)] == alone[:3])

# kill -9 under load: clients see their connection end; the next server answers the same.
ends[0] = threading.Event()
wrong.clear()
threads = start(client, 6)
time.sleep(0.5)
server.process.kill()
server.process.wait()
server = Process(model)
time.sleep(0.5)
ends[0].set()
for thread in threads:
    thread.join(60 * SLOW)
check("kill -9 under load: connections end, no answer is wrong", all(got[0] == 0 for _, got, _ in wrong),
      [w for w in wrong if w[1][0] != 0][:2])
check("started again it answers the same", [answer(i) for i in range(6)] == alone[:6])

# A drain under load: what runs is finished, what comes is refused.
results = []


def stream_once(i):
    try:
        results.append(answer(i * 3))
    except (OSError, http.client.HTTPException) as error:
        results.append((0, repr(error)))


threads = [threading.Thread(target=stream_once, args=(i,)) for i in range(16)]
for thread in threads:
    thread.start()
time.sleep(0.05)
server.process.send_signal(signal.SIGTERM)
for thread in threads:
    thread.join(60 * SLOW)
code = server.process.wait(60 * SLOW)
whole = [r for r in results if r[0] == 200]
rest = [r[0] for r in results if r[0] != 200]
check("a drain ends with 0", code == 0, code, open(os.path.join(work, "said")).read()[-500:])
check("an answer begun is finished, another refused", all(r in alone for r in whole) and
      all(status in (0, 503) for status in rest), results)
check("no crash was reported", "Sanitizer" not in open(os.path.join(work, "said"), errors="replace").read(),
      open(os.path.join(work, "said"), errors="replace").read()[-3000:])
finish()

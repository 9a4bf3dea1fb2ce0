"""The HTTP server, through serve_probe: what clients may send, and what they may do to it. Prints a
TAP line for each check. PROBE is the program."""
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

from tap import SLOW, check, finish, skip, work

PROBE = os.environ["PROBE"]


class Probe:
    """A running serve_probe."""

    def __init__(self, *args, command=None, waits=True, **how):
        self.errors = open(os.path.join(work, "errors"), "wb")
        self.process = subprocess.Popen(command or [PROBE, *args], stdout=subprocess.PIPE, stderr=self.errors,
                                        stdin=subprocess.DEVNULL, text=True, **how)
        self.lines = []
        self.news = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()
        self.port = 0
        if waits:
            self.wait_ready()

    def wait_ready(self):
        ready = self.wait("ready")
        self.address = ready[6:].split()[0] if ready else ""
        port = re.search(r":(\d+)$", self.address)
        self.port = int(port.group(1)) if port else 0

    def read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.strip())
                self.news.notify_all()
        with self.news:
            self.lines.append("end of output")
            self.news.notify_all()

    def wait(self, begin, seconds=20):
        """The first line that begins so, taken out; "" when none comes."""
        until = time.time() + seconds * SLOW
        with self.news:
            while True:
                for line in self.lines:
                    if line.startswith(begin):
                        self.lines.remove(line)
                        return line
                if "end of output" in self.lines or time.time() > until:
                    return ""
                self.news.wait(max(0.01, until - time.time()))

    def connect(self, host="127.0.0.1"):
        s = socket.create_connection((host, self.port), timeout=20 * SLOW)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def raw(self, data, parts=None):
        """Sends bytes (in parts), reads to the end of the connection; the answer's text."""
        s = self.connect()
        try:
            for part in parts or [data]:
                s.sendall(part)
                if parts:
                    time.sleep(0.02)
        except ConnectionError:
            pass
        return read_all(s)

    def get(self, path, headers=None, method="GET", body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20 * SLOW)
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        text = r.read().decode("utf-8", "replace")
        c.close()
        return r.status, text, r

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(30 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "killed"


def read_all(s):
    data = b""
    try:
        while True:
            more = s.recv(65536)
            if not more:
                break
            data += more
    except (ConnectionError, socket.timeout) as error:
        data += b"<%s>" % type(error).__name__.encode()
    s.close()
    return data.decode("utf-8", "replace")


def status_of(text):
    found = re.match(r"HTTP/1\.1 (\d+) ", text)
    return int(found.group(1)) if found else 0


def error_of(text):
    """The error object of an answer's body, or {}."""
    try:
        return json.loads(text[text.index("{"):])["error"]
    except (ValueError, KeyError):
        return {}


H = b"Host: a\r\n"
END = H + b"Connection: close\r\n\r\n"


def test_basics():
    p = Probe("port=0")
    code, text, r = p.get("/health")
    check("/health", code == 200 and json.loads(text) == {"status": "ok"}, code, text)
    check("an id and no store", len(r.getheader("X-Request-Id")) == 32 and
          r.getheader("Cache-Control") == "no-store", r.getheaders())
    check("/ready", p.get("/ready")[0] == 200)
    text = p.get("/echo/a%20b%2fc?x=%41&y", {"User-Agent": "me"})[1]
    check("path, tail, query, header", text == "GET /echo/a b/c|a b/c|x=%41&y|-1:|me|0|", text)
    text = p.get("/echo", method="POST", body=b"h\xc3\xa9llo")[1]
    check("a body", text.endswith("|6|h\u00e9llo"), text)
    code, text, r = p.get("/echo/x", method="HEAD")
    check("HEAD has a length and no body", code == 200 and text == "" and
          int(r.getheader("Content-Length")) > 10, r.getheaders())
    code, text, r = p.get("/nothing?secret=1")
    check("404 in OpenAI's form", code == 404 and set(error_of(text)) ==
          {"message", "type", "code", "param"}, text)
    code, text, r = p.get("/echo")
    check("405 with Allow", code == 405 and r.getheader("Allow") == "POST, OPTIONS", code, r.getheaders())
    code, text, r = p.get("/fail")
    check("an error's JSON is valid whatever its message", code == 429 and
          r.getheader("Retry-After") == "7" and "\ufffd" in error_of(text)["message"], text)
    for path, got, wanted in (("/later?ms=30", p.get("/later?ms=30")[1], "later"),
                              ("/stream", p.get("/stream?n=3&size=1")[1], "x\nx\nx\n")):
        check(f"{path} from another thread", got == wanted, got)
    check("the end of each is told once", p.wait("over") != "" and p.wait("over") != "")
    text = p.get("/stream?n=2&size=1&every=800")[1]
    check("comment pings while a stream is silent", text.count(": ping\n\n") >= 2, text)
    check("a forgotten call is 500", p.get("/drop")[0] == 500)
    text = p.raw(b"GET /drop?begun=1 HTTP/1.1\r\n" + END)
    check("a forgotten stream is cut", "\r\n0\r\n" not in text and not text.endswith(">"), text)
    check("a large answer", len(p.get("/big")[1]) == 8 << 20)
    text = p.raw(b"GET /stream?n=1&size=1 HTTP/1.0\r\n\r\n")
    check("a stream in HTTP/1.0", text.endswith("\r\n\r\nx\n") and "chunked" not in text, text)
    text = p.raw(b"GET /open HTTP/1.1\r\n" + H + b"\r\nPOST /open HTTP/1.1\r\nContent-Length: 2\r\n" + H +
                 b"\r\nhiGET /open HTTP/1.1\r\n" + END)
    check("pipelined requests, in order", re.findall(r"(GET|POST) /open", text) ==
          ["GET", "POST", "GET"] and "|2|hi" in text, text)
    text = p.raw(b"", [bytes([b]) for b in b"GET /open HTTP/1.0\r\n\r\n"])
    check("a byte at a time", status_of(text) == 200, text)
    text = p.raw(b"GET http://elsewhere/open?q HTTP/1.1\r\n" + END)
    check("an absolute target", "GET /open||q|" in text, text)
    text = p.raw(b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n" + H +
                 b"Connection: close\r\n\r\nx")
    check("100-continue", text.startswith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), text)
    chunked = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + END
    text = p.raw(b"", [chunked, b"3\r\nabc\r\n2;x=y\r\nd", b"e\r\n0\r\nTrailer: t\r\n\r\n"])
    check("a chunked body, with an extension and a trailer", text.endswith("|5|abcde"), text)
    trace = "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"
    code, text, r = p.get("/open", {"X-Request-Id": "my-id:7", "traceparent": trace})
    check("the client's request id", r.getheader("X-Request-Id") == "my-id:7")
    code, text, r = p.get("/open", {"X-Request-Id": "two words"})
    check("an unsuitable one is replaced", len(r.getheader("X-Request-Id")) == 32)
    check("SIGTERM ends it with 0", p.stop() == 0 and p.wait("stopped") != "")


def test_malformed():
    p = Probe("port=0", "body=1000")
    post = b"POST /echo HTTP/1.1\r\n" + H
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n"
    cases = [
        ("two Content-Lengths", post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("two that are the same", post + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", 400),
        ("a list of lengths", post + b"Content-Length: 2, 2\r\n\r\nab", 400),
        ("Content-Length and chunks", post + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("a negative length", post + b"Content-Length: -1\r\n\r\n", 400),
        ("a signed length", post + b"Content-Length: +1\r\n\r\nx", 400),
        ("a hexadecimal length", post + b"Content-Length: 0x1\r\n\r\nx", 400),
        ("an empty length", post + b"Content-Length:\r\n\r\n", 400),
        ("a length beyond 64 bits", post + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        ("a body too large", post + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001, 413),
        ("a chunked body too large", chunked + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", 413),
        ("many chunks too large", chunked + b"64\r\n" + b"x" * 100 + b"\r\n" + (b"64\r\n" + b"x" * 100 + b"\r\n") * 10, 413),
        ("another coding", post + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("chunked twice", post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("a disguised coding", post + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("chunks in HTTP/1.0", b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("a chunk size with 0x", chunked + b"0x1\r\nx\r\n0\r\n\r\n", 400),
        ("a chunk size with +", chunked + b"+1\r\nx\r\n0\r\n\r\n", 400),
        ("a chunk size with a blank", chunked + b"1 \r\nx\r\n0\r\n\r\n", 400),
        ("a negative chunk size", chunked + b"-1\r\nx\r\n0\r\n\r\n", 400),
        ("an empty chunk size", chunked + b"\r\nx\r\n0\r\n\r\n", 400),
        ("a chunk size of 17 digits", chunked + b"00000000000000001\r\nx\r\n0\r\n\r\n", 400),
        ("a chunk size that wraps", chunked + b"fffffffffffffffe\r\nx", 400),
        ("a huge chunk", chunked + b"ffffffff\r\nx", 413),
        ("a chunk longer than it says", chunked + b"1\r\nxy\r\n0\r\n\r\n", 400),
        ("a chunk's line ended by LF", chunked + b"1\nx\r\n0\r\n\r\n", 400),
        ("an endless extension", chunked + b"1;" + b"x" * 5000, 400),
        ("an endless trailer", chunked + b"0\r\n" + b"a: b\r\n" * 5000, 400),
        ("lines ended by LF", b"GET /open HTTP/1.1\nHost: a\n\n", 400),
        ("a CR inside a line", b"GET /open HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
        ("a NUL", b"GET /open HTTP/1.1\r\nHost: a\0\r\n\r\n", 400),
        ("a folded header", b"GET /open HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
        ("a header without colon", b"GET /open HTTP/1.1\r\nHost: a\r\nhello\r\n\r\n", 400),
        ("a header without name", b"GET /open HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400),
        ("no Host", b"GET /open HTTP/1.1\r\n\r\n", 400),
        ("two Hosts", b"GET /open HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("a control character in the path", b"GET /op\x01en HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("an encoded NUL in the path", b"GET /open%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("a broken percent", b"GET /open%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("a target without slash", b"GET open HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("no version", b"GET /open\r\nHost: a\r\n\r\n", 400),
        ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\n" * 40, 400),
        ("a compressed body", post + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", 415),
        ("an unknown expectation", post + b"Expect: money\r\nContent-Length: 0\r\n\r\n", 417),
        ("a target too long", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        ("a header too long", b"GET /open HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40000 + b"\r\n\r\n", 431),
        ("too many headers", b"GET /open HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
    ]
    for name, data, wanted in cases:
        text = p.raw(data)
        got = status_of(text)
        whole = len(re.findall(r"HTTP/1\.1 \d", text)) == 1 and "<" not in text and error_of(text).get("message")
        check(f"{wanted}: {name}", got == wanted and whole, text)
    half = p.connect()
    half.sendall(post + b"Content-Length: 3\r\n\r\nx")
    check("after all that it still answers", p.get("/health")[0] == 200)
    check("and ends well", p.stop() == 0)


def test_timeouts():
    p = Probe("port=0", "header_s=1", "body_s=1", "idle_s=1.5", "write_s=2", "pending=200000")
    slow, body, idle = p.connect(), p.connect(), p.connect()
    slow.sendall(b"GET /open HTTP/1.1\r\nX: ")
    body.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 100\r\n" + H + b"\r\nabc")
    begun = time.time()

    def drip():
        try:
            for _ in range(100):
                slow.sendall(b"x")
                time.sleep(0.1)
        except OSError:
            pass
    threading.Thread(target=drip, daemon=True).start()
    text = read_all(body)
    check("408: a body that doesn't come", status_of(text) == 408, text)
    text = read_all(slow)
    check("408: a head that drips", status_of(text) == 408 or text.startswith("<"), text)
    check("an idle connection is closed in silence", read_all(idle) == "")
    check("within seconds", time.time() - begun < 8 * SLOW, time.time() - begun)
    slow_reader = socket.socket()
    slow_reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow_reader.connect(("127.0.0.1", p.port))
    slow_reader.sendall(b"GET /stream?n=100000&size=10000 HTTP/1.1\r\n" + H + b"\r\n")
    check("a slow reader is cut off", p.wait("gone", 20) != "")
    slow_reader.close()
    slow_reader = socket.socket()
    slow_reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow_reader.connect(("127.0.0.1", p.port))
    slow_reader.sendall(b"GET /big HTTP/1.1\r\n" + H + b"\r\n")
    time.sleep(0.2)
    check("and one that reads nothing of a whole answer", wait_count(p, "hone_http_slow_clients_total", 2, 10))
    slow_reader.close()
    check("ends well", p.stop() == 0)


def metric(p, name, headers=None):
    text = p.get("/metrics", headers)[1]
    found = re.search(r"^%s ([0-9.]+)$" % re.escape(name), text, re.M)
    return float(found.group(1)) if found else -1


def wait_count(p, name, wanted, seconds):
    until = time.time() + seconds * SLOW
    while time.time() < until:
        if metric(p, name) >= wanted:
            return True
        time.sleep(0.1)
    return False


def test_hang_ups():
    p = Probe("port=0")
    for path in ("/later?ms=3000", "/stream?n=1000&every=10"):
        s = p.connect()
        s.sendall(b"GET %s HTTP/1.1\r\nX-Request-Id: hang\r\n" % path.encode() + H + b"\r\n")
        time.sleep(0.2)
        begun = time.time()
        s.close()
        told = p.wait("gone hang", 2)
        check(f"a hang-up is told at once: {path}", told and time.time() - begun < 1 * SLOW, time.time() - begun)
    for _ in range(50):  # resets at every moment
        s = p.connect()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.sendall(b"GET /stream?n=50&size=5000 HTTP/1.1\r\n" + H + b"\r\n")
        s.close()
    ends = sum(1 for _ in range(50) if p.wait("gone") or p.wait("over"))
    check("fifty resets, fifty ends", ends == 50, ends)
    check("no call is left over", wait_count(p, "hone_http_requests_in_flight", 0, 5))
    check("ends well", p.stop() == 0)


def test_many_connections():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(10000, hard - 200)
    if hard < 2000:
        skip("many connections left open", f"only {hard} files may be open")
        return
    p = Probe("port=0")
    left = []
    for i in range(n):
        try:
            s = socket.socket()
            s.settimeout(20 * SLOW)
            s.connect(("127.0.0.1", p.port))
            if i % 3 == 0:
                s.sendall(b"GET /ope")
            left.append(s)
        except OSError as error:
            check(f"{n} connections", False, i, error)
            break
    begun = time.time()
    code = p.get("/health")[0]
    check(f"{len(left)} connections left open, and it answers", code == 200 and len(left) == n,
          time.time() - begun)
    check("at once", time.time() - begun < 2 * SLOW, time.time() - begun)
    text = p.get("/stream?n=5&size=3")[1]
    check("a stream beside them", text == "xxx\n" * 5, text)
    for s in left:
        s.close()
    check("ends well", p.stop() == 0)
    p = Probe("port=0", "connections=50")
    left = [p.connect() for _ in range(200)]
    check("beyond the limit the idlest go", p.get("/health")[0] == 200)
    check("ends well beyond the limit", p.stop() == 0)
    for s in left:
        s.close()
    p = Probe("port=0", "connections=20")
    busy = []
    for _ in range(30):
        busy.append(p.connect())
        busy[-1].sendall(b"GET /later?ms=700 HTTP/1.1\r\n" + END)
        time.sleep(0.01)
    answers = [status_of(read_all(s)) for s in busy]
    check("where all are at work new ones wait", answers == [200] * 30, answers)
    check("ends well when busy", p.stop() == 0)


def test_keys():
    path = os.path.join(work, "keys")
    with open(path, "w") as out:
        out.write("# two keys\nsk-first-key\nalice sk-second-key # hers\n\n")
    p = Probe("port=0", "keys=" + path, "log=" + os.path.join(work, "log"))
    check("no key: 401", p.get("/echo/x")[0] == 401)
    code, text, r = p.get("/echo/x", {"Authorization": "Bearer sk-wrong"})
    check("a wrong key: 401 with its code", code == 401 and error_of(text)["code"] == "invalid_api_key"
          and r.getheader("WWW-Authenticate") == "Bearer", text)
    check("the first key", "|0:key-1|" in p.get("/echo/x", {"Authorization": "Bearer sk-first-key"})[1])
    check("the second, with a name, as X-Api-Key", "|1:alice|" in p.get("/echo/x", {"X-Api-Key": "sk-second-key"})[1])
    check("half a key: 401", p.get("/echo/x", {"Authorization": "Bearer sk-first"})[0] == 401)
    check("Basic: 401", p.get("/echo/x", {"Authorization": "Basic sk-first-key"})[0] == 401)
    check("/health needs none", p.get("/health")[0] == 200 and p.get("/open")[0] == 200)
    check("/metrics needs one", p.get("/metrics")[0] == 401)
    text = p.raw(b"POST /echo HTTP/1.1\r\nContent-Length: 900000\r\n" + H + b"\r\n" + b"x" * 900000)
    check("401 before the body", status_of(text) == 401, text)
    c = http.client.HTTPConnection("127.0.0.1", p.port, timeout=20 * SLOW)
    begun = time.time()
    codes = set()
    for i in range(1000):
        c.request("GET", "/echo/x", headers={"Authorization": f"Bearer sk-wrong-{i}"})
        r = c.getresponse()
        r.read()
        codes.add(r.status)
    spent = time.time() - begun
    check("1,000 wrong keys", codes == {401}, codes)
    begun = time.time()
    code = p.get("/echo/x", {"X-Api-Key": "sk-second-key"})[0]
    check("slow nobody down", code == 200 and time.time() - begun < 1 * SLOW, spent)
    check("and are counted", metric(p, "hone_http_rejected_keys_total", {"X-Api-Key": "sk-second-key"}) >= 1003)
    with open(path, "w") as out:
        out.write("sk-other-key\n")
    p.process.send_signal(signal.SIGHUP)
    check("SIGHUP reads them again", p.wait("note reloaded") != "" and
          p.get("/echo/x", {"X-Api-Key": "sk-other-key"})[0] == 200 and
          p.get("/echo/x", {"X-Api-Key": "sk-first-key"})[0] == 401)
    with open(path, "w") as out:
        out.write("a b c\n")
    p.process.send_signal(signal.SIGHUP)
    check("a wrong file leaves the old ones", p.wait("note not reloaded") != "" and
          p.get("/echo/x", {"X-Api-Key": "sk-other-key"})[0] == 200)
    os.unlink(path)
    p.process.send_signal(signal.SIGHUP)
    check("and so does a missing one", p.wait("note not reloaded") != "" and
          p.get("/echo/x", {"X-Api-Key": "sk-other-key"})[0] == 200)
    p.stop()
    with open(os.path.join(work, "log")) as log:
        text = log.read()
    lines = [json.loads(line) for line in text.splitlines()]
    check("the log has a JSON line for each", len(lines) > 1000 and
          all({"time", "request_id", "method", "route", "status", "ms"} <= set(l) for l in lines))
    check("with the key's name and never a key", any(l.get("key") == "alice" for l in lines) and
          "sk-" not in text)
    with open(path, "w") as out:
        out.write("# nothing\n")
    done = subprocess.run([PROBE, "port=0", "keys=" + path], stdout=subprocess.PIPE, text=True)
    check("a file without keys is an error", done.returncode == 1 and "no key in it" in done.stdout, done.stdout)


def test_log_without_content():
    log = os.path.join(work, "log2")
    p = Probe("port=0", "log=" + log)
    p.get("/echo/tail-secret?query-secret=1", {"User-Agent": "agent-secret"})
    p.get("/nothing-secret")
    p.get("/echo", method="POST", body="body-secret")
    os.rename(log, log + ".1")
    p.process.send_signal(signal.SIGHUP)
    p.wait("note reloaded")
    p.get("/open")
    p.stop()
    text = open(log + ".1").read() + open(log).read()
    lines = [json.loads(line) for line in text.splitlines()]
    check("the log holds no content", "secret" not in text and "127.0.0.1" not in text, text)
    check("but routes", [l["route"] for l in lines] == ["/echo/*", "", "/echo", "/open"], text)
    check("and opens its file again", json.loads(open(log).read())["route"] == "/open")


def test_cors():
    p = Probe("port=0")
    origin = {"Origin": "https://evil.example"}
    check("pages of other origins may not post to an open server",
          p.get("/open", origin, "POST", "x")[0] == 403)
    check("its own may", p.get("/open", {"Origin": f"http://127.0.0.1:{p.port}"}, "POST", "x")[0] == 200)
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    check("nor may a name that was made to point here", p.get("/open", rebound, "POST", "x")[0] == 403)
    check("localhost may", p.get("/open", {"Host": "localhost:80", "Origin": "http://localhost:80"}, "POST", "x")[0] == 200)
    code, text, r = p.get("/open", origin)
    check("and can't read", r.getheader("Access-Control-Allow-Origin") is None)
    p.stop()
    keys = os.path.join(work, "cors-keys")
    with open(keys, "w") as out:
        out.write("sk-cors-key\n")
    p = Probe("port=0", "cors=https://a.example, https://b.example", "keys=" + keys)
    origin = {"Origin": "https://b.example", "Access-Control-Request-Method": "POST",
              "Access-Control-Request-Headers": "authorization,content-type"}
    code, text, r = p.get("/echo", origin, "OPTIONS")
    check("a preflight needs no key", code == 204 and
          r.getheader("Access-Control-Allow-Origin") == "https://b.example" and
          "POST" in r.getheader("Access-Control-Allow-Methods") and
          r.getheader("Access-Control-Allow-Headers") == "authorization,content-type", r.getheaders())
    code, text, r = p.get("/echo/x", {"Origin": "https://a.example"})
    check("even a refusal can be read", code == 401 and
          r.getheader("Access-Control-Allow-Origin") == "https://a.example" and r.getheader("Vary") == "Origin")
    check("an origin that isn't listed gets nothing",
          p.get("/open", {"Origin": "https://c.example"})[2].getheader("Access-Control-Allow-Origin") is None)
    p.stop()
    p = Probe("port=0", "cors=*")
    check("*", p.get("/open", {"Origin": "null"})[2].getheader("Access-Control-Allow-Origin") == "*")
    p.stop()


def make_certificate(name):
    cert, key = os.path.join(work, name + ".pem"), os.path.join(work, name + ".key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=" + name, "-addext",
                    "subjectAltName=IP:127.0.0.1"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


def test_tls():
    if not shutil.which("openssl"):
        skip("TLS", "no openssl")
        return
    cert, key = make_certificate("one")
    p = Probe("port=0", "cert=" + cert, "key=" + key, "header_s=1")

    def get(path, ca, body=None):
        context = ssl.create_default_context(cafile=ca)
        c = http.client.HTTPSConnection("127.0.0.1", p.port, timeout=20 * SLOW, context=context)
        c.request("POST" if body else "GET", path, body=body)
        r = c.getresponse()
        return r.status, r.read()
    check("HTTPS", p.address.startswith("https://") and get("/open", cert)[0] == 200)
    check("a stream over TLS", get("/stream?n=3&size=20000", cert)[1].count(b"\n") == 3)
    check("a large answer over TLS", len(get("/big", cert)[1]) == 8 << 20)
    check("a large body over TLS", get("/echo", cert, b"y" * 3000000)[1].endswith(b"yyy"))
    s = p.connect()
    check("a handshake that doesn't come ends", read_all(s) == "")
    check("plain HTTP to it ends", "200" not in p.raw(b"GET /open HTTP/1.1\r\n" + END))
    s = ssl.create_default_context(cafile=cert).wrap_socket(p.connect(), server_hostname="127.0.0.1")
    s.sendall(b"GET /later?ms=3000 HTTP/1.1\r\nX-Request-Id: tls\r\n" + H + b"\r\n")
    time.sleep(0.2)
    s.close()
    check("a hang-up over TLS is told", p.wait("gone tls", 3) != "")
    other, other_key = make_certificate("two")
    shutil.copy(other, cert)
    shutil.copy(other_key, key)
    p.process.send_signal(signal.SIGHUP)
    check("SIGHUP takes the new certificate", p.wait("note reloaded") != "" and get("/open", other)[0] == 200)
    check("ends well", p.stop() == 0)
    done = subprocess.run([PROBE, "port=0", "cert=" + cert, "key=" + cert], stdout=subprocess.PIPE, text=True)
    check("a key that is none is an error", done.returncode == 1 and "private key" in done.stdout, done.stdout)


def greet(s):
    s.sendall(b"GET /open HTTP/1.1\r\n" + END)
    return s


def unix_get(path, target):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20 * SLOW)
    s.connect(path)
    s.sendall(b"GET %s HTTP/1.1\r\n" % target.encode() + END)
    return read_all(s)


def test_sockets():
    path = os.path.join(work, "hone.sock")
    p = Probe("host=", "unix=" + path)
    check("a unix socket", p.address == "unix:" + path and status_of(unix_get(path, "/open")) == 200, p.address)
    done = subprocess.run([PROBE, "host=", "unix=" + path], stdout=subprocess.PIPE, text=True)
    check("a second server is refused", done.returncode == 1 and "another server" in done.stdout, done.stdout)
    p.process.kill()
    p.process.wait()
    check("kill -9 leaves the file", os.path.exists(path))
    p = Probe("host=", "unix=" + path)
    check("which the next one takes over", status_of(unix_get(path, "/open")) == 200)
    p.stop()
    check("and removes at its end", not os.path.exists(path))
    open(path, "w").write("mine")
    done = subprocess.run([PROBE, "host=", "unix=" + path], stdout=subprocess.PIPE, text=True)
    check("a file of another kind stays", done.returncode == 1 and open(path).read() == "mine", done.stdout)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    notify_path = os.path.join(work, "notify")
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(notify_path)
    notify.settimeout(20 * SLOW)

    # LISTEN_PID must be the server's own: a shell that becomes it.
    script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET={notify_path} exec "$0"'
    p = Probe(command=["/bin/sh", "-c", script, PROBE], pass_fds=[listener.fileno()])
    check("socket activation", p.port == port and p.get("/open")[0] == 200, p.address)
    check("systemd is told", notify.recv(100) == b"READY=1")
    check("and of the end", p.stop() == 0 and notify.recv(100) == b"STOPPING=1")
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        p = Probe("host=::", "port=0")
        both = [read_all(greet(p.connect(host))) for host in ("::1", "127.0.0.1")]
        check(":: is all of both kinds", [status_of(text) for text in both] == [200, 200], both)
        p.stop()
        p = Probe("host=localhost", "port=0")
        check("a name", p.get("/open")[0] == 200, p.address)
        p.stop()
    else:
        skip(":: is all of both kinds", "no IPv6 here")
    s = socket.create_server(("127.0.0.1", 0))
    done = subprocess.run([PROBE, f"port={s.getsockname()[1]}"], stdout=subprocess.PIPE, text=True)
    check("a port that is taken is an error with its number", done.returncode == 1 and
          str(s.getsockname()[1]) in done.stdout, done.stdout)


def test_loading():
    """What takes long to open is opened while the server lives."""
    path, loads = os.path.join(work, "loading"), os.path.join(work, "loads")
    p = Probe("host=", "unix=" + path, "load=" + loads, waits=False)
    until = time.time() + 20 * SLOW
    while not os.path.exists(path) and time.time() < until:
        time.sleep(0.01)
    check("it lives before it is ready", (status_of(unix_get(path, "/health")), status_of(unix_get(path, "/ready"))) ==
          (200, 503))
    done = subprocess.run([PROBE, "host=", "unix=" + path], stdout=subprocess.PIPE, text=True, timeout=20 * SLOW)
    check("another is told at once that the place is taken", done.returncode == 1 and "another server" in done.stdout,
          done.stdout)
    with open(loads, "w") as f:
        f.write("whole")
    p.wait_ready()
    check("then it is ready", status_of(unix_get(path, "/ready")) == 200)
    check("and ends as always", p.stop() == 0)
    open(loads, "w").close()
    done = subprocess.run([PROBE, "port=0", "load=" + loads], stdout=subprocess.PIPE, text=True, timeout=20 * SLOW)
    check("what can't be opened ends it", done.returncode == 1 and "is empty" in done.stdout and
          "ready" not in done.stdout, done.stdout)
    os.remove(loads)
    p = Probe("host=", "unix=" + path, "load=" + loads, waits=False)
    while not os.path.exists(path) and time.time() < until:
        time.sleep(0.01)
    p.process.send_signal(signal.SIGTERM)
    p.wait("note shutting down")
    with open(loads, "w") as f:
        f.write("whole")
    check("it can be ended before it is ready", p.process.wait(20 * SLOW) == 0 and not p.wait("ready", 1))


def test_drain():
    p = Probe("port=0")
    s, quiet, other = p.connect(), p.connect(), p.connect()
    s.sendall(b"GET /stream?n=10&size=3&every=150 HTTP/1.1\r\n" + H + b"\r\n")
    time.sleep(0.3)
    p.process.send_signal(signal.SIGTERM)
    check("a drain begins", p.wait("note shutting down: 1 request") != "")
    quiet.sendall(b"GET /echo/x HTTP/1.1\r\n" + H + b"\r\n")
    text = read_all(quiet)
    check("new requests get 503 with Retry-After", status_of(text) == 503 and "Retry-After: 1" in text, text)
    check("/ready says so", p.get("/ready")[0] == 503)
    check("/health still lives", p.get("/health")[0] == 200)
    text = read_all(s)
    check("the running stream is finished", text.count("xxx") == 10 and text.endswith("0\r\n\r\n"), text)
    check("and it ends with 0", p.process.wait(20 * SLOW) == 0)
    p = Probe("port=0")
    s = p.connect()
    s.sendall(b"GET /stream?n=1000&every=20 HTTP/1.1\r\n" + H + b"\r\n")
    time.sleep(0.2)
    p.process.send_signal(signal.SIGTERM)
    p.wait("note shutting down")
    begun = time.time()
    code = p.stop(signal.SIGTERM)
    check("a second signal ends at once", code == 130 and time.time() - begun < 5 * SLOW, code)
    p = Probe("port=0", "drain=1")
    s = p.connect()
    s.sendall(b"GET /stream?n=1000&every=20 HTTP/1.1\r\n" + H + b"\r\n")
    time.sleep(0.2)
    begun = time.time()
    check("a drain has an end", p.stop(signal.SIGINT) == 0 and time.time() - begun < 8 * SLOW)


def test_metrics():
    p = Probe("port=0")
    p.get("/open")
    p.get("/nothing")
    text = p.get("/metrics")[1]
    for line in ('hone_num_requests_running{model="probe \\"one\\""} 1',
                 'hone_kv_cache_usage_perc{model="probe \\"one\\""} 0.250000',
                 'hone_prefix_cache_hits_total{model="probe \\"one\\""} 4',
                 'hone_request_success_total{model="probe \\"one\\"",finished_reason="stop"} 1',
                 'hone_time_to_first_token_seconds_bucket{model="probe \\"one\\"",le="0.04"} 1',
                 'hone_time_to_first_token_seconds_bucket{model="probe \\"one\\"",le="0.02"} 0',
                 'hone_time_to_first_token_seconds_sum{model="probe \\"one\\""} 0.030000000',
                 'hone_http_requests_total{route="/open",status="200"} 1'):
        check("metric: " + line.split("{")[0], line in text.splitlines(), line, text[-2000:])
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        check("promtool check metrics", done.returncode == 0, done.stdout)
    else:
        skip("promtool check metrics", "no promtool (Debian's prometheus)")
    p.stop()


def test_sandbox():
    if os.environ.get("HONE_TEST_SANITIZER"):
        skip("the sandbox", "the sanitizers look at their own process at its end")
        return
    keys = os.path.join(work, "sandbox-keys")
    with open(keys, "w") as out:
        out.write("sk-sandbox\n")
    p = Probe("port=0", "sandbox=1", "keys=" + keys, "log=" + os.path.join(work, "sandbox-log"))
    note = p.wait("note sandbox")
    check("the sandbox says what is in force", "system calls" in note, note)
    with open(f"/proc/{p.process.pid}/status") as status:
        text = status.read()
    check("no new privileges, and a filter", "NoNewPrivs:\t1" in text and "Seccomp:\t2" in text)
    text = p.get("/forbidden")[1]
    check("no process can be made", "fork=0" in text, text)
    if "Landlock" in note and "no Landlock" not in note:
        check("no file outside can be read", "passwd=0" in text, text)
    else:
        skip("no file outside can be read", "this kernel has no Landlock")
    check("threads can", p.get("/later?ms=10", {"X-Api-Key": "sk-sandbox"})[1] == "later")
    with open(keys + ".new", "w") as out:
        out.write("sk-sandbox-2\n")
    os.rename(keys + ".new", keys)
    p.process.send_signal(signal.SIGHUP)
    check("keys are read again in it", p.wait("note reloaded") != "" and
          p.get("/later?ms=1", {"X-Api-Key": "sk-sandbox-2"})[0] == 200)
    check("ends well", p.stop() == 0)


only = sys.argv[1:]
for name, test in list(globals().items()):
    if name.startswith("test_") and (not only or name[5:] in only):
        test()
finish()

"""A model hub on this machine that answers the real hub's paths, for tests of `hone pull`.

usage: hub_server.py FOLDER
Writes FOLDER/ports ("HUB CDN") when it listens and each request to FOLDER/requests.jsonl. Large
files are redirected to the second port, another origin, as the real hub redirects to its CDN.
The models' names say how they misbehave. Ends when its standard input closes."""
import hashlib
import json
import time

from local_server import Quiet, count, folder, listen, lock, stay

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BIG = bytes(i * 7 & 255 for i in range(300000))
SHARD = bytes(i * 11 & 255 for i in range(120000))
SAFETENSORS = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}",
               "model.safetensors.index.json": b'{"weight_map": {}}',
               "model-00001-of-00002.safetensors": BIG,
               "model-00002-of-00002.safetensors": SHARD,
               "onnx/model.onnx": b"no", "pytorch_model.bin": b"no"}
MODELS = {name: SAFETENSORS for name in
          ("t/ok", "t/broken", "t/wrongsum", "t/gated", "t/busy", "t/err500", "t/norange", "t/slow")}
MODELS["t/gguf"] = {"weights.gguf": BIG, "README.md": b"# one"}
MODELS["t/ggufs"] = {"a.Q4_1.gguf": BIG, "b.Q8_0.gguf": SHARD}
MODELS["t/evil"] = {"config.json": b"{}", "../../evil.gguf": SHARD}
MODELS["t/none"] = {"notes.txt": b"nothing"}
MODELS["t/renamed"] = SAFETENSORS

ports = {}


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(Quiet):
    def answer(self, code, body=b"", headers=()):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def record(self, where):
        with lock, open(folder + "/requests.jsonl", "a") as out:
            out.write(json.dumps({"where": where, "method": self.command, "path": self.path,
                                  "token": self.headers.get("Authorization"),
                                  "range": self.headers.get("Range")}) + "\n")

    def do_HEAD(self):
        self.do_GET()

    def data(self, name, body, headers=()):
        """A file's bytes: whole, or from Range, or cut off."""
        asked = self.headers.get("Range")
        start = 0
        if asked and "norange" not in name:
            start = int(asked.split("=")[1].split("-")[0])
            if start >= len(body):
                return self.answer(416)
            headers = list(headers) + [
                ("Content-Range", "bytes %d-%d/%d" % (start, len(body) - 1, len(body)))]
        part = body[start:]
        cut = "broken" in name and self.command == "GET" and len(body) > 1000 and \
            count(("cut", name, self.path)) <= 3
        if "slow" in name and self.command == "GET" and len(body) > 1000 and not start:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for at in range(0, len(body), 20000):
                self.wfile.write(body[at:at + 20000])
                time.sleep(0.2)
            return None
        if not cut:
            return self.answer(206 if start else 200, part, headers)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)))
        for pair in headers:
            self.send_header(*pair)
        self.end_headers()
        self.wfile.write(part[:70000])
        self.close_connection = True


class Hub(Handler):
    def do_GET(self):
        self.record("hub")
        path = self.path
        if path.startswith("/files/"):
            return self.data("t/broken" if "broken" in path else "t/ok", BIG,
                             [("ETag", '"%s"' % hashlib.md5(BIG).hexdigest())])
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            name, revision = "/".join(parts[2:4]), "/".join(parts[5:])
        else:
            name, revision = "/".join(parts[:2]), parts[3] if len(parts) > 3 else ""
        if name == "t/old":
            return self.answer(307, headers=[("Location", path.replace("t/old", "t/renamed"))])
        if name not in MODELS or revision not in ("main", "v1", COMMIT):
            return self.answer(404)
        if name == "t/gated" and self.headers.get("Authorization") != "Bearer secret":
            return self.answer(401)
        if name == "t/busy" and count(("busy", parts[0])) <= 1:
            return self.answer(429, headers=[("Retry-After", "1")])
        if name == "t/err500":
            return self.answer(500)
        files = MODELS[name]
        if parts[0] == "api":
            listing = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": f} for f in files]}
            return self.answer(200, json.dumps(listing).encode(),
                               [("Content-Type", "application/json")])
        file = "/".join(parts[4:])
        if file not in files:
            return self.answer(404)
        body = files[file]
        if len(body) < 1000:
            return self.data(name, body, [("ETag", '"%s"' % git_sha1(body)),
                                          ("X-Repo-Commit", COMMIT)])
        digest = hashlib.sha256(body + (b"x" if name == "t/wrongsum" else b"")).hexdigest()
        self.answer(302, headers=[
            ("Location", "http://127.0.0.1:%d/cdn/%s/%s" % (ports["cdn"], name, file)),
            ("X-Linked-Etag", '"%s"' % digest), ("X-Linked-Size", str(len(body))),
            ("X-Repo-Commit", COMMIT), ("ETag", '"not-this-one"')])


class Cdn(Handler):
    def do_GET(self):
        self.record("cdn")
        _, org, name, file = self.path.strip("/").split("/", 3)
        model = org + "/" + name
        self.data(model, MODELS[model][file])


ports["hub"], ports["cdn"] = listen(Hub, Cdn)
stay("ports", ports["hub"], ports["cdn"])

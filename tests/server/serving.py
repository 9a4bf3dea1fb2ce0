"""What the tests of `hone serve` share beside tap.py: a tiny model with a chat template, a server, JSON
over HTTP and server-sent events. HONE is the program, MODELS the folder of tiny models."""
import atexit
import http.client
import json
import os
import re
import shutil
import subprocess
import time

from tap import SLOW, check, finish, work

HONE = os.environ["HONE"]
MODELS = os.environ["MODELS"]
TEMPLATE = ("{{ extra or '' }}{% for m in messages %}{{ '<|bos|>' + m.role + ': ' + (m.content or '') }}"
            "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}{{ '\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|bos|>assistant: ' }}{% endif %}")


def tiny_model(name="tiny", template=TEMPLATE, control="<|pad|>"):
    """A folder with a model of 264 tokens, one a byte, and this chat template; token 258 is `control`."""
    path = os.path.join(work, name)
    shutil.copytree(os.path.join(MODELS, "llama3"), path)
    for file, changes in (("config.json", {"max_position_embeddings": 4096}),
                          ("tokenizer_config.json", {"chat_template": template})):
        with open(os.path.join(path, file)) as f:
            value = json.load(f)
        value.update(changes)
        with open(os.path.join(path, file), "w") as f:
            json.dump(value, f)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        with open(os.path.join(path, file)) as f:
            text = f.read()
        with open(os.path.join(path, file), "w") as f:
            f.write(text.replace("<|pad|>", control))
    return path


class Server:
    """A running `hone serve`."""

    def __init__(self, *args):
        self.log = os.path.join(work, f"log{time.time()}")
        env = dict(os.environ, HONE_WEIGHTS_CACHE_GB="0")
        if os.environ.get("HONE_TEST_SANITIZER"):  # the search for leaks traces the process
            args = (*args, "--no-sandbox")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([HONE, "serve", *args, "--port", "0", "--access-log", "none"],
                                            stdout=subprocess.DEVNULL, stderr=log,
                                            stdin=subprocess.DEVNULL, env=env)
        atexit.register(self.process.kill)  # whatever becomes of the test
        self.port = 0
        until = time.time() + 60 * SLOW
        while not self.port and time.time() < until and self.process.poll() is None:
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.said())
            self.port = int(found.group(1)) if found else 0
            time.sleep(0.02)
        if not self.port:
            check("the server starts", False, self.said())
            finish()

    def said(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120 * SLOW)

    def ask(self, path, body=None, method=None, headers=None):
        """Status, JSON (or text), headers."""
        connection = self.connect()
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method or ("GET" if body is None else "POST"), path, data, headers or {})
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        try:
            text = json.loads(text)
        except ValueError:
            pass
        return reply.status, text, dict(reply.getheaders())

    def get(self, path, body=None):
        """JSON of an answer that must be 200."""
        status, value, _ = self.ask(path, body)
        if status != 200:
            check(f"{path} answers", False, status, value, body)
        return value

    def stream(self, path, body):
        """Events as (name or None, text of data), comments left out; status."""
        connection = self.connect()
        connection.request("POST", path, json.dumps(dict(body, stream=True)).encode())
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        events = []
        for block in text.split("\n\n"):
            lines = [line for line in block.split("\n") if line and not line.startswith(":")]
            if lines:
                fields = dict(line.split(": ", 1) for line in lines)
                events.append((fields.get("event"), fields.get("data")))
        return reply.status, events, text

    def stop(self):
        self.process.terminate()
        code = self.process.wait(60 * SLOW)
        check("the server ends with 0", code == 0, code, self.said()[-2000:])

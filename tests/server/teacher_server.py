"""An OpenAI-compatible endpoint on this machine that misbehaves on request, for tests of `hone data
generate`.

usage: teacher_server.py FOLDER
Writes FOLDER/port when it listens and each request to FOLDER/requests.jsonl, with how many were in
flight. Words in the last user message, or the model's name, say how it misbehaves. Ends when its
standard input closes."""
import email.utils
import json
import re
import time

from local_server import Quiet, count, folder, listen, lock, stay, tries

flying = 0


def answer_to(text):
    """content, message's other keys, finish_reason"""
    think = "<think>\nIt is about %s.\n</think>\n\n" % text
    if "refuse" in text:
        return think + "I\u2019m sorry, but I can't help with that.", {}, "stop"
    if "declined" in text:
        return None, {"refusal": "No."}, "stop"
    if "filtered" in text:
        return "", {}, "content_filter"
    if "cutoff" in text:
        return "<think>\nAnd then, and then", {}, "length"
    if "lengthy" in text:
        return think + "word " * 400, {}, "stop"
    if "thoughtless" in text:
        return "Just so.", {}, "stop"
    if "reasons" in text:
        return "Apart.", {"reasoning_content": "It came apart."}, "stop"
    if "parts" in text:
        return [{"type": "text", "text": think}, {"type": "text", "text": "In parts."}], {}, "stop"
    if "opened" in text:  # a template that opens the thought in the prompt
        return "Begun before.\n</think>\nOpened.", {}, "stop"
    if "letters" in text:
        return "<think>\nÜber – 数学\n</think>\n\nGrüße, \U0001f44b 世界", {}, "stop"
    if "votes" in text:
        return think + ["The answer is 7.", "So:\n#### 12", "The answer is 12."][
            (count("votes " + text) - 1) % 3], {}, "stop"
    return think + "An answer to %s." % text, {}, "stop"


class Handler(Quiet):
    def send(self, code, body, headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for pair in headers:
            self.send_header(*pair)
        self.end_headers()
        self.wfile.write(data)

    def error(self, code, text, headers=(), kind=None):
        self.send(code, {"error": {"message": text, "code": kind}}, headers)

    def refuse_all(self, model):
        """Models that never answer; True when this was one."""
        key = self.headers.get("Authorization", "").replace("Bearer ", "")
        if model == "gated":
            self.error(401, "Incorrect API key provided: %s" % key)
        elif model == "gone":
            self.error(404, "The model does not exist")
        elif model == "poor":
            self.error(429, "You exceeded your quota", kind="insufficient_quota")
        elif model == "down":
            self.error(503, "overloaded")
        elif model == "later":
            self.error(429, "come back tomorrow", [("Retry-After", "86400")])
        elif model == "moved":
            self.send(302, {}, [("Location", "http://127.0.0.1:1/stolen")])
        elif model == "picky":
            self.error(400, "Unknown parameter\nhere")
        else:
            return False
        return True

    def stumble(self, text):
        """Failures that pass; True when this try was one."""
        first = count("try " + text) == 1
        if "busy" in text and first:
            self.error(429, "slow down", [("Retry-After", "1")])
        elif "dated" in text and first:
            when = email.utils.formatdate(time.time() + 2, usegmt=True)
            self.error(503, "not now", [("Retry-After", when)])
        elif "stumbles" in text and tries["try " + text] <= 2:
            self.error(500, "oops")
        elif "hangs" in text and first:
            time.sleep(4)
            self.send(200, {})
        elif "halved" in text and first:
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"mess')
            self.close_connection = True
        elif "babbles" in text and first:
            self.send(200, b"<html>Bad gateway</html>")
        elif "chunks" in text and first:
            self.send(200, {"choices": []})
        elif "impossible" in text:
            self.error(400, "This prompt is impossible")
        else:
            return False
        return True

    def do_POST(self):
        global flying
        with lock:
            flying += 1
            now = flying
        try:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock, open(folder + "/requests.jsonl", "a") as out:
                out.write(json.dumps({"path": self.path, "flying": now, "time": time.time(),
                                      "key": self.headers.get("Authorization"),
                                      "request": request}) + "\n")
            self.reply(request)
        finally:
            with lock:
                flying -= 1

    def reply(self, request):
        text = request["messages"][-1]["content"]
        system = request["messages"][0]["content"]
        if self.refuse_all(request["model"]) or self.stumble(text):
            return
        if request["model"] == "slow" or "slowly" in text:
            time.sleep(0.3)
        if system.startswith("You judge"):
            n = len(re.findall(r"^\d+\. ", text, re.M))
            ranking = list(range(n, 0, -1)) if "muddled" not in text else [1, 1]
            content, more, finish = "```json\n%s\n```" % json.dumps(
                {"critique": "The last is right.", "ranking": ranking}), {}, "stop"
        elif system.startswith("You write wrong answers"):
            answer = text.split("Answer:\n")[1]
            wrong = answer.replace("12", "13") if "12" in answer else "Not " + answer
            content, more, finish = answer if "same" in text else wrong, {}, "stop"
        else:
            content, more, finish = answer_to(text)
        body = {"choices": [{"message": {"role": "assistant", "content": content, **more},
                             "finish_reason": finish}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 50}}
        if "lengthy" in text:
            body["usage"]["completion_tokens"] = 420
        if "uncounted" in text:
            del body["usage"]
        self.send(200, json.dumps(body, ensure_ascii=False).encode())


stay("port", *listen(Handler))

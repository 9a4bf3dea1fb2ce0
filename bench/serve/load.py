"""Clients of an OpenAI-compatible server, as many at once as asked, over plain sockets: a measurement should cost the
machine as little as it can beside the server, so answers are only noted while they come and read afterwards."""
import asyncio
import json
import random
import time

# Words of several letters that tokenizers cut in different ways; texts are drawn from them.
WORDS = ("river stone window market summer letter garden simple answer morning yellow distance engine promise "
         "weather kitchen number silver teacher forest listen travel paper winter music butter station shadow "
         "harbour village question mountain evening doctor picture ladder pocket thunder coffee bridge").split()


def text(seed, n_words):
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(n_words))


def body(model, prompt, n_tokens, system=None):
    """A greedy chat request of exactly n_tokens, streamed."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    return {"model": model, "messages": messages, "max_tokens": n_tokens, "temperature": 0, "ignore_eos": True,
            "stream": True, "stream_options": {"include_usage": True}}


class Answer:
    """A request and what became of it. Times are seconds from the moment it was sent."""

    def __init__(self, request):
        self.request, self.status, self.error = request, 0, None
        self.pieces = []  # (time, bytes as they came)
        self.seconds = 0.0

    def read(self):
        """Events of the stream, each with the time its last byte came."""
        events, rest = [], b""
        for at, data in self.pieces:
            rest += data
            while b"\n\n" in rest:
                event, rest = rest.split(b"\n\n", 1)
                for line in event.split(b"\n"):
                    if line.startswith(b"data: ") and line != b"data: [DONE]":
                        events.append((at, json.loads(line[6:])))
        self.times, self.text, self.usage = [], "", {}
        for at, event in events:
            if "error" in event:
                self.error = event["error"].get("message", "error")
            self.usage = event.get("usage") or self.usage
            for choice in event.get("choices", ()):
                delta = choice.get("delta", {}).get("content")
                if delta:
                    self.times.append(at)
                    self.text += delta
        if self.status != 200 and not self.error:
            self.error = f"status {self.status}"
        if not self.error and not self.times:
            self.error = "no text"
        return self


async def chunks(reader, head):
    """Bytes of a body as they come, by its transfer coding."""
    if b"transfer-encoding: chunked" not in head.lower():
        while data := await reader.read(65536):
            yield data
        return
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)


async def ask(port, request):
    answer = Answer(request)
    data = json.dumps(request).encode()
    began = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                     b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        head = await reader.readuntil(b"\r\n\r\n")
        answer.status = int(head.split()[1])
        async for piece in chunks(reader, head):
            answer.pieces.append((time.perf_counter() - began, piece))
        writer.close()
    except (OSError, ValueError, IndexError, asyncio.IncompleteReadError) as failure:
        answer.error = f"{type(failure).__name__}: {failure}"
    answer.seconds = time.perf_counter() - began
    return answer


async def run(port, n_clients, requests, seconds=None, watch=None):
    """All requests in order, by n_clients that take the next one when their last is answered; `requests` may have no
    end, then nothing new is begun after `seconds`. `watch` is called once a second."""
    requests, answers = iter(requests), []
    began = time.perf_counter()

    async def client():
        while seconds is None or time.perf_counter() - began < seconds:
            request = next(requests, None)
            if request is None:
                return
            answers.append(await ask(port, request))

    async def watcher():
        while True:
            watch(time.perf_counter() - began)
            await asyncio.sleep(1)

    watching = asyncio.create_task(watcher()) if watch else None
    await asyncio.gather(*(client() for _ in range(n_clients)))
    took = time.perf_counter() - began
    if watching:
        watching.cancel()
    return [answer.read() for answer in answers], took

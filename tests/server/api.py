"""The API of `hone serve` over a tiny model: what each route answers, what it refuses and how, and
that hang-ups and crowds change nobody else's answer. Prints a TAP line for each check."""
import base64
import json
import math
import os
import socket
import struct
import subprocess
import threading
import time

from serving import HONE, MODELS, TEMPLATE, Server, tiny_model
from tap import SLOW, check, finish, skip, work

model = tiny_model()
server = Server(f"tiny={model}", "--adapter", f"lora={os.path.join(MODELS, 'llama3_lora')}", "--ctx", "2048",
                "--slots", "4", "--kv-type", "f32")
USER = [{"role": "user", "content": "Hello"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def chat(**fields):
    return dict({"messages": USER, "temperature": 0, "max_tokens": 12}, **fields)


def text_of(answer, i=0):
    return answer["choices"][i]["message"]["content"]


def refused(name, path, body, param, status=400, code=None):
    got, value, _ = server.ask(path, body)
    error = value.get("error", {}) if isinstance(value, dict) else {}
    check(name, got == status and error.get("message") and error.get("type") and error.get("param") == param and
          (code is None or error.get("code") == code), got, value)


# ---- what is there ----
models = server.get("/v1/models")
check("models and adapters are listed", [m["id"] for m in models["data"]] == ["tiny", "lora"], models)
check("one model", server.get("/v1/models/tiny")["object"] == "model")
refused("an unknown model", "/v1/models/none", None, "model", 404, "model_not_found")
refused("a request for it", CHAT, chat(model="none"), "model", 404, "model_not_found")
props = server.get("/props")
check("properties", props["total_slots"] == 4 and "bos" in props["chat_template"], props)
check("slots", len(server.get("/slots")) == 4)

# ---- chat ----
whole = server.get(CHAT, chat(n=2))
check("chat", whole["object"] == "chat.completion" and whole["id"].startswith("chatcmpl-") and
      whole["choices"][0]["message"]["role"] == "assistant" and whole["choices"][0]["finish_reason"] == "length" and
      whole["usage"]["completion_tokens"] == 24 and whole["timings"]["predicted_n"] == 12, whole)
check("two greedy choices are one answer", text_of(whole) == text_of(whole, 1), whole)
again = server.get(CHAT, chat())
check("the prompt is remembered", again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0, again["usage"])
check("and nothing changes", text_of(again) == text_of(whole))
fresh = server.get(CHAT, chat(cache_prompt=False))
check("cache_prompt false", fresh["usage"]["prompt_tokens_details"]["cached_tokens"] == 0 and
      text_of(fresh) == text_of(whole), fresh)

status, events, raw = server.stream(CHAT, chat(stream_options={"include_usage": True}))
chunks = [json.loads(data) for _, data in events[:-1]]
check("a stream ends with [DONE]", events[-1] == (None, "[DONE]") and raw.endswith("data: [DONE]\n\n"), raw[-200:])
check("the role comes first", chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}, chunks[0])
check("an empty delta with the reason", chunks[-2]["choices"][0]["delta"] == {} and
      chunks[-2]["choices"][0]["finish_reason"] == "length", chunks[-2])
check("usage comes last", chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 12 and
      all(c["usage"] is None for c in chunks[:-1]), chunks[-1])
check("a stream says the same", "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) ==
      text_of(whole), raw)
seeds = [text_of(server.get(CHAT, chat(temperature=1.5, seed=s))) for s in (1, 1, 2)]
check("a seed decides", seeds[0] == seeds[1] != seeds[2], seeds)
both = server.get(CHAT, chat(temperature=1.5, seed=1, n=2))
check("choices differ", text_of(both) == seeds[0] != text_of(both, 1), both)
stop = text_of(whole)[3:5]
if stop:
    cut = server.get(CHAT, chat(stop=[stop, "never"]))
    check("a stop string", cut["choices"][0]["finish_reason"] == "stop" and stop not in text_of(cut), stop, cut)
kept = server.get(CHAT, dict(chat(), messages=USER + [{"role": "assistant", "content": "abc"}],
                             continue_final_message=True))
check("a message is continued", kept["usage"]["prompt_tokens"] > 0 and text_of(kept) is not None, kept)

# ---- log-probabilities ----
some = server.get(CHAT, chat(logprobs=True, top_logprobs=3))["choices"][0]["logprobs"]["content"]
check("log-probabilities", len(some) == 12 and all(len(t["top_logprobs"]) == 3 and t["logprob"] <= 0 and
      t["logprob"] == t["top_logprobs"][0]["logprob"] for t in some), some[:2])
check("bytes of tokens", b"".join(bytes(t["bytes"]) for t in some).decode(errors="replace").startswith(
      text_of(whole)[:3]), some[:3])
_, events, _ = server.stream(CHAT, chat(logprobs=True, top_logprobs=1))
streamed = [t for _, d in events[:-1] for t in (json.loads(d)["choices"][0].get("logprobs") or {}).get("content", [])]
check("streamed too", [t["logprob"] for t in streamed] == [t["logprob"] for t in some], streamed[:2])
echo = server.get(TEXT, {"prompt": "ab", "max_tokens": 2, "temperature": 0, "echo": True, "logprobs": 2})
lists = echo["choices"][0]["logprobs"]
check("echo with logprobs", echo["choices"][0]["text"].startswith("ab") and lists["token_logprobs"][0] is None and
      len({len(lists[k]) for k in lists}) == 1 and lists["text_offset"][0] == 0, echo)

# Against the logits of `hone logits`.
logits = os.path.join(work, "logits.npy")
ids = server.get("/tokenize", {"content": "Hello there", "add_special": True})["tokens"]
subprocess.run([HONE, "logits", model, "--ids", " ".join(map(str, ids)), "--no-bos", "--numerics", "int8", "-o", logits, "-q"],
               check=True, stdout=subprocess.DEVNULL)
with open(logits, "rb") as f:
    raw = f.read()
n_header = 10 + struct.unpack("<H", raw[8:10])[0]
values = struct.unpack(f"<{(len(raw) - n_header) // 4}f", raw[n_header:])
width = len(values) // len(ids)
rows = [values[i * width:(i + 1) * width] for i in range(len(ids))]
wanted = [row[t] - max(row) - math.log(sum(math.exp(v - max(row)) for v in row)) for row, t in zip(rows, ids[1:])]
lists = server.get(TEXT, {"prompt": ids, "max_tokens": 0, "echo": True, "logprobs": 1})["choices"][0]["logprobs"]
check("log-probabilities are exact", len(lists["token_logprobs"]) == len(ids) and
      max(abs(a - b) for a, b in zip(lists["token_logprobs"][1:], wanted)) < 1e-4, lists["token_logprobs"], wanted)

# ---- completions ----
batch = server.get(TEXT, {"prompt": ["a", "b"], "max_tokens": 4, "temperature": 0})
alone = [server.get(TEXT, {"prompt": p, "max_tokens": 4, "temperature": 0}) for p in ("a", "b")]
check("a batch of prompts", [c["text"] for c in batch["choices"]] == [a["choices"][0]["text"] for a in alone], batch)
tokens = server.get("/tokenize", {"content": "a", "add_special": True})["tokens"]
by_ids = server.get(TEXT, {"prompt": tokens, "max_tokens": 4, "temperature": 0})
check("a prompt of tokens", by_ids["choices"][0]["text"] == batch["choices"][0]["text"], by_ids)
status, events, _ = server.stream(TEXT, {"prompt": "a", "max_tokens": 4, "temperature": 0})
check("a streamed completion", "".join(json.loads(d)["choices"][0]["text"] for _, d in events[:-1]) ==
      batch["choices"][0]["text"], events)
refused("a suffix", TEXT, {"prompt": "a", "suffix": "b"}, "suffix")
refused("a token that isn't one", TEXT, {"prompt": [99999]}, "prompt")

# ---- grammars ----
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 0,
          "maximum": 99}}, "required": ["ok", "n"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
value = json.loads(text_of(server.get(CHAT, chat(response_format=FORMAT, max_tokens=100))))
check("a schema is kept", isinstance(value["ok"], bool) and 0 <= value["n"] <= 99, value)
word = text_of(server.get(CHAT, chat(grammar='root ::= "yes" | "no"', max_tokens=100)))
check("a grammar is kept", word in ("yes", "no"), word)
bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"dependentSchemas": {"a": {}}}}}
refused("a schema that can't be kept", CHAT, chat(response_format=bad), "response_format.json_schema.schema")
refused("a grammar that is none", CHAT, chat(grammar="root ::= missing"), "grammar")

# ---- tools ----
TOOLS = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in ("first", "second")]
for choice, names in (("required", ("first", "second")),
                      ({"type": "function", "function": {"name": "second"}}, ("second",))):
    called = server.get(CHAT, chat(tools=TOOLS, tool_choice=choice, max_tokens=200))["choices"][0]
    call = (called["message"].get("tool_calls") or [{"function": {"name": "", "arguments": "{}"}}])[0]
    check(f"a required call ({names[-1]})", called["finish_reason"] == "tool_calls" and
          called["message"]["content"] is None and call["function"]["name"] in names and
          call["id"].startswith("call_") and "ok" in json.loads(call["function"]["arguments"]), called)
asked = chat(tools=TOOLS, tool_choice="required", max_tokens=60, temperature=1)
n_calls = [max(len(c["message"].get("tool_calls") or []) for c in server.get(CHAT, dict(asked, n=8, **more))["choices"])
           for more in ({}, {"parallel_tool_calls": True, "max_tokens": 300})]
check("one required call, and more where that is asked for", n_calls[0] == 1 < n_calls[1], n_calls)
_, events, raw = server.stream(CHAT, chat(tools=TOOLS, tool_choice="required", max_tokens=200))
deltas = [json.loads(d)["choices"][0] for _, d in events[:-1]]
calls = [c for d in deltas for c in d["delta"].get("tool_calls", [])]
check("a streamed call", len(calls) > 2 and calls[0]["id"] and deltas[-1]["finish_reason"] == "tool_calls" and
      "n" in json.loads("".join(c["function"]["arguments"] for c in calls)), raw[:2000])
back = USER + [{"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function":
               {"name": "first", "arguments": "{\"n\": 1}"}}]}, {"role": "tool", "tool_call_id": "a", "content": "1"}]
check("a result goes back", server.get(CHAT, dict(chat(tools=TOOLS), messages=back))["choices"], back)

# ---- embeddings ----
one = server.get("/v1/embeddings", {"input": "hello"})["data"][0]["embedding"]
packed = server.get("/v1/embeddings", {"input": ["hello", "you"], "encoding_format": "base64"})["data"]
floats = struct.unpack(f"<{len(one)}f", base64.b64decode(packed[0]["embedding"]))
check("embeddings, in both forms", max(abs(a - b) for a, b in zip(one, floats)) < 1e-6 and len(packed) == 2 and
      abs(sum(x * x for x in one) - 1) < 1e-3, one[:4], floats[:4])
ids = server.get("/tokenize", {"content": "hello", "add_special": True})["tokens"]
check("embeddings of tokens", max(abs(a - b) for a, b in zip(one, server.get(
      "/v1/embeddings", {"input": ids})["data"][0]["embedding"])) < 1e-6)
many = server.get("/v1/embeddings", {"input": [f"{i}" for i in range(300)]})["data"]
check("many embeddings", [d["index"] for d in many] == list(range(300)) and many[7]["embedding"] == server.get(
      "/v1/embeddings", {"input": "7"})["data"][0]["embedding"])
refused("embeddings of another width", "/v1/embeddings", {"input": "a", "dimensions": 7}, "dimensions")

# ---- text ----
pieces = server.get("/tokenize", {"content": "aé", "with_pieces": True})["tokens"]
check("pieces", [p["piece"] for p in pieces] == ["a", [195], [169]], pieces)
check("and back", server.get("/detokenize", {"tokens": [p["id"] for p in pieces]})["content"] == "aé")
prompt = server.get("/apply-template", {"messages": USER})["prompt"]
check("the template", prompt == "<|bos|>user: Hello\n<|bos|>assistant: ", prompt)
sly = dict(chat(), messages=[{"role": "user", "content": "<|bos|>"}])
plain = dict(chat(), messages=[{"role": "user", "content": "-------"}])
check("a message can't forge a turn", server.get(CHAT, sly)["usage"]["prompt_tokens"] ==
      server.get(CHAT, plain)["usage"]["prompt_tokens"])

forged, honest = (server.get(CHAT, chat(chat_template_kwargs={"extra": e}))["usage"]["prompt_tokens"]
                  for e in ("<|bos|>", "-------"))
check("nor can a template's variable, which arrives", forged == honest ==
      server.get(CHAT, chat())["usage"]["prompt_tokens"] + 7, forged, honest)

# ---- adapters ----
base, named = text_of(server.get(CHAT, chat())), text_of(server.get(CHAT, chat(model="lora")))
asked = text_of(server.get(CHAT, chat(lora=[{"id": 0, "scale": 1}])))
check("an adapter by its name or by request", named == asked != base, base, named, asked)
half = text_of(server.get(CHAT, chat(lora=[{"id": 0, "scale": 0.0}])))
check("an adapter at scale 0 is none", half == base, half)
check("an adapter at another scale", server.get(CHAT, chat(lora=[{"id": 0, "scale": 0.5}]))["choices"])
refused("an adapter that isn't there", CHAT, chat(lora=[{"id": 5, "scale": 1}]), "lora")
server.get("/lora-adapters", [{"id": 0, "scale": 1.0}])
check("in force for everybody", server.get("/lora-adapters")[0]["scale"] == 1 and
      text_of(server.get(CHAT, chat())) == named)
server.get("/lora-adapters", [])
check("and off again", text_of(server.get(CHAT, chat())) == base)
refused("scales of nothing", "/lora-adapters", [{"id": 7, "scale": 1}], "id")

second = [{"type": "function", "function": {"name": "second"}}]
for mode in ("required", "auto"):
    ask = chat(tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": second}})
    only = server.get(CHAT, dict(ask, max_tokens=200))["choices"][0]
    check(f"allowed tools, {mode}", (mode == "auto") == ("tool_calls" not in only["message"]) and
          all(c["function"]["name"] == "second" for c in only["message"].get("tool_calls", [])), only)
    check("the model is told of all tools", server.get("/apply-template", ask) ==
          server.get("/apply-template", chat(tools=TOOLS)))
for wrong in ({"mode": "any", "tools": second}, {"mode": "auto", "tools": []}, {"mode": "auto"}, [],
              {"mode": "auto", "tools": [{"type": "function", "function": {"name": "third"}}]}):
    refused("allowed tools that are none", CHAT, chat(tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools":
                                                                               wrong}), "tool_choice.allowed_tools")

# ---- the other dialects ----
answer = server.get("/v1/responses", {"input": "Hello", "max_output_tokens": 12, "temperature": 0})
check("responses", answer["status"] == "incomplete" and answer["output"][0]["content"][0]["text"] == base, answer)
_, events, _ = server.stream("/v1/responses", {"input": "Hello", "max_output_tokens": 12, "temperature": 0})
parsed = [json.loads(d) for _, d in events]
check("streamed responses", parsed[0]["type"] == "response.created" and parsed[-1]["type"] == "response.incomplete" and
      [e["sequence_number"] for e in parsed] == list(range(len(parsed))) and
      "".join(e["delta"] for e in parsed if e["type"] == "response.output_text.delta") == base, parsed[-1])
flat = [dict(t["function"], type="function") for t in TOOLS]
_, events, raw = server.stream("/v1/responses", {"input": "Hello", "temperature": 0, "tools": flat,
                                                "tool_choice": "required", "max_output_tokens": 200})
last = json.loads(events[-1][1])
check("responses call tools", last["response"]["output"][0]["type"] == "function_call" and
      "ok" in json.loads(last["response"]["output"][0]["arguments"]), raw[-1500:])
asked = {"instructions": "Be brief.", "tools": flat, "tool_choice": {"type": "function", "name": "first"}, "user": "u1",
         "metadata": {"run": "7"}, "max_output_tokens": 60, "text": {"format": {"type": "text"}}, "temperature": 0,
         "top_p": 0.5, "parallel_tool_calls": False}
fixed = {"previous_response_id": None, "truncation": "disabled", "store": False, "background": False}
answer = server.get("/v1/responses", dict(asked, input="Hello"))
said = {key: answer.get(key, "?") for key in dict(asked, **fixed)}
check("responses say again what was asked for", said == dict(asked, **fixed), said)
_, events, raw = server.stream("/v1/responses", dict(asked, input="Hello"))
shown = [e["response"] for e in map(json.loads, (d for _, d in events)) if "response" in e]
check("streamed ones in each event that has one", len(shown) == 3 and
      all({key: r.get(key, "?") for key in said} == said for r in shown), raw[:1500])
answer = server.get("/v1/responses", {"input": "Hello", "max_output_tokens": 2, "truncation": "auto"})
usual = {"instructions": None, "tools": [], "tool_choice": "auto", "metadata": {}, "text": {"format": {"type": "text"}}}
check("and what is in force where nothing was", {k: answer.get(k, "?") for k in dict(usual, **fixed)} == dict(usual, **fixed),
      answer)
lit = {"input": "Hello", "max_output_tokens": 6, "temperature": 0, "include": ["message.output_text.logprobs"], "top_logprobs": 2}
chosen = [(t["token"], round(t["logprob"], 4), len(t["top_logprobs"])) for t in server.get(CHAT, chat(
    max_tokens=6, logprobs=True, top_logprobs=2))["choices"][0]["logprobs"]["content"]]
lists = [server.get("/v1/responses", lit)["output"][0]["content"][0]["logprobs"]]
_, events, _ = server.stream("/v1/responses", lit)
parsed = [json.loads(d) for _, d in events]
lists += [parsed[-1]["response"]["output"][0]["content"][0]["logprobs"],
          [t for e in parsed if e["type"] == "response.output_text.delta" for t in e["logprobs"]],
          *(e["logprobs"] for e in parsed if e["type"] == "response.output_text.done")]
check("responses have log-probabilities", len(lists) == 4 and len(chosen) == 6 and
      all([(t["token"], round(t["logprob"], 4), len(t["top_logprobs"])) for t in one] == chosen for one in lists), lists)
check("only where they are asked for", server.get("/v1/responses", dict(lit, include=[]))["output"][0]["content"][0]
      ["logprobs"] == [])
allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "second"}]}
answer = server.get("/v1/responses", {"input": "Hello", "tools": flat, "tool_choice": allowed, "max_output_tokens": 200})
check("responses call allowed tools", answer["output"][0].get("name") == "second" and answer["tool_choice"] == allowed,
      answer)
answer = server.get("/v1/messages", {"messages": USER, "max_tokens": 12, "temperature": 0})
check("messages", answer["content"] == [{"type": "text", "text": base}] and answer["stop_reason"] == "max_tokens", answer)
_, events, _ = server.stream("/v1/messages", {"messages": USER, "max_tokens": 12, "temperature": 0})
check("streamed messages", events[0][0] == "message_start" and events[-1][0] == "message_stop" and
      "".join(json.loads(d)["delta"]["text"] for n, d in events if n == "content_block_delta") == base, events)
cut = server.get("/v1/messages", {"messages": USER, "max_tokens": 12, "temperature": 0, "stop_sequences": ["?", base[2:4]]})
check("messages name the stop sequence", cut["stop_reason"] == "stop_sequence" and cut["stop_sequence"] == base[2:4], cut)
claude = [{"name": "first", "input_schema": SCHEMA}]
answer = server.get("/v1/messages", {"messages": USER, "max_tokens": 200, "temperature": 0, "tools": claude,
                                     "tool_choice": {"type": "any"}})
check("messages call tools", answer["stop_reason"] == "tool_use" and "ok" in answer["content"][0].get("input", {}), answer)
check("tokens are counted", server.get("/v1/messages/count_tokens", {"messages": USER})["input_tokens"] ==
      server.get(CHAT, chat())["usage"]["prompt_tokens"])
counted = server.get("/v1/messages/count_tokens", {"messages": USER, "tools": claude})["input_tokens"]
check("tools are counted, and shown", counted == server.get(CHAT, chat(tools=TOOLS[:1]))["usage"]["prompt_tokens"] and
      "first" in server.get("/apply-template", {"messages": USER, "tools": TOOLS[:1]})["prompt"], counted)
status, value, _ = server.ask("/v1/messages", {"messages": USER})
check("messages refuse in their own form", status == 400 and value["type"] == "error", value)

# ---- what is refused ----
for field, value in (("previous_response_id", "resp_1"), ("conversation", "conv_1"), ("background", True),
                     ("tools", [{"type": "web_search"}]), ("metadata", {"run": 7}), ("max_output_tokens", 0),
                     ("max_output_tokens", "9")):
    refused(f"responses with {field}", "/v1/responses", {"input": "Hello", field: value}, field)
for field, value in (("functions", [{"name": "first"}]), ("function_call", "auto"), ("modalities", ["text", "audio"]),
                     ("max_completion_tokens", 0)):
    refused(f"a chat with {field}", CHAT, chat(**{field: value}), field)
refused("the best of several", TEXT, {"prompt": "a", "best_of": 3}, "best_of")
check("but of one", server.get(TEXT, {"prompt": "a", "best_of": 1, "max_tokens": 2})["choices"])
check("text alone is a modality", server.get(CHAT, chat(modalities=["text"]))["choices"])
status, value, _ = server.ask(CHAT, b"")
check("an empty body is called that", status == 400 and "empty" in value["error"]["message"], value)
for path, meant in (("/chat/completions", CHAT), ("/v1" + CHAT, CHAT), (CHAT + "/", CHAT), ("/completions", TEXT)):
    status, value, _ = server.ask(path, chat())
    check(f"{path} is told where it should go", status == 404 and value["error"]["message"].endswith(" " + meant), value)
status, value, _ = server.ask("/nowhere/v1", chat())
check("another isn't", status == 404 and value["error"]["message"] == "there is nothing at /nowhere/v1", value)
status, value, _ = server.ask("/v1/messages", {"messages": USER, "max_tokens": 2, "tools": [
    {"type": "web_search_20250305", "name": "web_search"}]})
check("a tool that the server would have to have", status == 400 and "input_schema" in value["error"]["message"], value)
long = dict(chat(), messages=[{"role": "user", "content": "x" * 5000}])
status, value, _ = server.ask(CHAT, long)
check("a prompt that doesn't fit", status == 400 and value["error"]["type"] == "exceed_context_size_error" and
      value["error"]["n_prompt_tokens"] > 5000 and value["error"]["n_ctx"] == 2048 and
      "maximum context length is 2048 tokens" in value["error"]["message"], value)
full = server.get(CHAT, dict(chat(max_tokens=-1), messages=[{"role": "user", "content": "x" * 1990}],
                             ignore_eos=True))
check("the context's end is a length", full["choices"][0]["finish_reason"] == "length", full["usage"])
for body in (b"", b"{", b"[]", b'{"messages": [{"role": "user", "content": "\xff"}]}',
             b'{"messages": [{"role": "user", "content": "\\ud800"}]}', b'{"a": 1, "a": 2}',
             b"[" * 100000, b'{"n": 1e999}'):
    status, value, _ = server.ask(CHAT, body)
    check(f"no JSON: {body[:24]!r}", status == 400 and value["error"]["message"], status, value)
refused("a wrong type", CHAT, chat(temperature="hot"), "temperature")
refused("a huge number", CHAT, chat(n=10 ** 30), "n")
refused("two million stop strings", CHAT, chat(stop=["a"] * 2_000_000), None)
refused("a hundred of them", CHAT, chat(stop=["a"] * 100), "stop")
refused("a bias of no token", CHAT, chat(logit_bias={"5000": 1}), "logit_bias")

# A schema of 10 MB is refused, and meanwhile others are answered.
huge = chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {
    "type": "object", "properties": {f"p{i}": {"type": "string", "description": "d" * 90} for i in range(80000)}}}})
result = []
thread = threading.Thread(target=lambda: result.append(server.ask(CHAT, huge)))
thread.start()
while thread.is_alive():
    server.get(CHAT, chat(max_tokens=2))
thread.join()
check("a schema of 10 MB", result[0][0] == 400 and "schema" in (result[0][1]["error"]["param"] or ""), result[0][:2])

# ---- crowds and hang-ups ----
got = [None] * 12


def one_of_many(i):
    prompt = [{"role": "user", "content": "Hello " * (1 + i % 3)}]
    got[i] = text_of(server.get(CHAT, dict(chat(max_tokens=30), messages=prompt)))


threads = [threading.Thread(target=one_of_many, args=(i,)) for i in range(len(got))]
[t.start() for t in threads]
[t.join() for t in threads]
lone = [text_of(server.get(CHAT, dict(chat(max_tokens=30), messages=[{"role": "user", "content": "Hello " * n}])))
        for n in (1, 2, 3)]
check("a crowd changes nobody's answer", got == [lone[i % 3] for i in range(len(got))], got, lone)


def leave(after_first):
    """Asks for a long stream and hangs up, before or after its first event."""
    body = json.dumps(chat(stream=True, max_tokens=1900, ignore_eos=True)).encode()
    s = socket.create_connection(("127.0.0.1", server.port), timeout=60 * SLOW)
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    while after_first and b"content" not in s.recv(4096):
        pass
    s.close()


for after_first in (True, False):
    for _ in range(12):
        leave(after_first)
    until = time.time() + 60 * SLOW
    while any(slot["is_processing"] for slot in server.get("/slots")) and time.time() < until:
        time.sleep(0.05)
    check("hang-ups free their slots" if after_first else "in the queue too",
          not any(slot["is_processing"] for slot in server.get("/slots")))
check("and it goes on", text_of(server.get(CHAT, chat())) == base)
server.stop()

# ---- a full queue ----
server = Server(f"tiny={model}", "--ctx", "2048", "--slots", "1", "--queue", "1")
codes, waits = [], []


def push():
    status, value, headers = server.ask(CHAT, chat(max_tokens=1500, ignore_eos=True))
    codes.append(status)
    waits.append(headers.get("Retry-After"))


threads = [threading.Thread(target=push) for _ in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
check("more than may wait get 429 and when to come back", set(codes) == {200, 429} and
      all(w for c, w in zip(codes, waits) if c == 429), codes, waits)
check("many embeddings through a short queue", len(server.get(
      "/v1/embeddings", {"input": ["a", "b", "c", "d", "e", "f"]})["data"]) == 6)
status, value, _ = server.ask(CHAT, chat(max_tokens=5, timeout=0.000001))
check("a timeout before the first token", status == 408, status, value)

# ---- a stream in the queue ----
def occupy():
    server.ask(CHAT, chat(max_tokens=1900, ignore_eos=True))


thread = threading.Thread(target=occupy)
thread.start()
while thread.is_alive() and not any(slot["is_processing"] for slot in server.get("/slots")):
    time.sleep(0.01)
status, events, raw = server.stream(CHAT, chat(max_tokens=2, timeout=600))
thread.join()
check("a stream waits in the queue", events[-1][1] == "[DONE]", raw[-300:])
server.stop()

# ---- a stream that waits says so ----
# Some hundred long answers before it on the only slot: far more than a ping's time, and given up when it came.
def reader_of(body):
    data = json.dumps(body).encode()
    s = socket.create_connection(("127.0.0.1", server.port), timeout=120 * SLOW)
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
    return s


server = Server(f"tiny={model}", "--ctx", "2048", "--slots", "1")
busy = [reader_of(chat(n=128, max_tokens=1900, ignore_eos=True, temperature=2)) for _ in range(4)]
while not any(slot["is_processing"] for slot in server.get("/slots")):
    time.sleep(0.01)
waiting, got = reader_of(chat(stream=True, max_tokens=2)), b""
while b": ping" not in got and len(got) < 4096:
    more = waiting.recv(4096)
    got += more
    if not more:
        break
check("a stream in the queue pings before its first event", b"text/event-stream" in got and b": ping" in got and
      b"data:" not in got, got)
[b.close() for b in busy]
while b"[DONE]" not in got:
    more = waiting.recv(4096)
    got += more
    if not more:
        break
check("and is answered in its turn", got.count(b"finish_reason\":\"length") == 1 and b"[DONE]" in got, got[-300:])
waiting.close()
server.stop()

# ---- calls that the model decides on: tags that are control tokens, each family's format ----
FAMILIES = (("hermes", "<tool_call>", "<tool_call>"), ("llama3", "<|python_tag|>", "<|python_tag|>"),
            ("mistral", "[TOOL_CALLS]", "[TOOL_CALLS]"), ("mistral-args", "[TOOL_CALLS] [ARGS]", "[TOOL_CALLS]"))
for family, known, tag in FAMILIES:
    path = tiny_model(family, "{# tools " + known + " #}" + TEMPLATE, tag)
    server = Server(f"tiny={path}", "--ctx", "2048", "--kv-type", "f32")
    for fields in ({"tool_choice": "required"}, {"logit_bias": {"258": 100}}):
        ask = chat(tools=TOOLS, parallel_tool_calls=False, max_tokens=200, **fields)
        called = server.get(CHAT, ask)["choices"][0]
        call = (called["message"].get("tool_calls") or [{"id": "", "function": {"name": "", "arguments": "{}"}}])[0]
        value = json.loads(call["function"]["arguments"])
        check(f"{family}: a call keeps to its schema, {'required' if len(fields) == 1 and 'tool_choice' in fields else 'or not'}",
              called["finish_reason"] == "tool_calls" and call["function"]["name"] in ("first", "second") and
              isinstance(value.get("ok"), bool) and 0 <= value.get("n", -1) <= 99 and len(value) == 2 and
              len(call["id"]) == (9 if "mistral" in family else 29), called)
    cut = server.get(CHAT, chat(tools=TOOLS, logit_bias={"258": 100}, max_tokens=3))["choices"][0]
    check(f"{family}: the beginning of a call that is cut is no text", cut["finish_reason"] == "length" and
          cut["message"]["content"] == "" and "tool_calls" not in cut["message"], cut)
    free = text_of(server.get(CHAT, chat(tools=TOOLS, max_tokens=60)))
    check(f"{family}: what isn't a call stays as free as without tools", free ==
          text_of(server.get(CHAT, chat(max_tokens=60))) and free, free)
    check(f"{family}: the tag is hidden without tools", server.get(CHAT, chat(logit_bias={"258": 100}, max_tokens=2))
          ["choices"][0]["message"]["content"] == "")
    beside = chat(tools=TOOLS, parallel_tool_calls=False, max_tokens=200, response_format=FORMAT)
    letters = {str(server.get("/tokenize", {"content": c})["tokens"][0]): -100 for c in "<[ \t\n"}
    either = server.get(CHAT, dict(beside, logit_bias={"258": -100, **letters}))["choices"][0]["message"]
    value = json.loads(either["content"] or either["tool_calls"][0]["function"]["arguments"])  # Llama's have no tag
    check(f"{family}: beside a schema an answer keeps to it", sorted(value) == ["n", "ok"] and
          (either["content"] or family == "llama3"), either)
    called = server.get(CHAT, dict(beside, logit_bias={"258": 100}))["choices"][0]
    check(f"{family}: or is a call", called["finish_reason"] == "tool_calls", called)
    odd = [{"type": "function", "function": {"name": "odd", "parameters": {"type": "object", "not": {}}}}]
    called = server.get(CHAT, chat(tools=odd, parallel_tool_calls=False, max_tokens=4, logit_bias={"258": 100}))
    check(f"{family}: a schema that can't be kept is any object", called["choices"], called)
    odd[0]["function"]["strict"] = True
    refused(f"{family}: unless the tool is strict", CHAT, chat(tools=odd), "tools")
    server.stop()

# ---- Llama 3's own templates: calls without a tag, and one of them a turn ----
CALL, NEXT = ('{"name": "%s", "parameters": {"ok": true, "n": %d}}' % call for call in (("first", 4), ("second", 5)))
UNTAGGED = ((CALL, ["first"]), (CALL + "; " + NEXT, ["first", "second"]), ("<|python_tag|>" + CALL, ["first"]),
            (CALL.replace("{", '{"type": "function", ', 1), ["first"]), ('{"answer": 42}', []),
            ('{"name": "third", "parameters": {}}', []), ("```json\n" + CALL + "\n```", []))
for name in ("meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct"):
    template = os.path.join(os.environ.get("HONE_SHARED", ""), "data/tokenizers/chat_templates", name + ".jinja")
    if not os.path.exists(template):
        skip(name, "its template isn't there (set HONE_SHARED)")
        continue
    with open(template, encoding="utf-8") as f:
        path = tiny_model(name, f.read(), "<|python_tag|>")
    server = Server(f"tiny={path}", "--ctx", "4096", "--kv-type", "f32")
    for said, names in UNTAGGED:
        ask = chat(tools=TOOLS, max_tokens=200, grammar="root ::= " + json.dumps(said))
        whole = server.get(CHAT, ask)["choices"][0]
        calls = whole["message"].get("tool_calls", [])
        check(f"{name}: {said}", [c["function"]["name"] for c in calls] == names and
              all(json.loads(c["function"]["arguments"]) == {"ok": True, "n": 4 + i} for i, c in enumerate(calls)) and
              whole["finish_reason"] == ("tool_calls" if names else "stop") and
              whole["message"]["content"] == (None if names else said), whole)
        deltas = [json.loads(d)["choices"][0]["delta"] for _, d in server.stream(CHAT, ask)[1] if d != "[DONE]"]
        parts = [c for d in deltas for c in d.get("tool_calls", [])]
        check("and streamed", "".join(d.get("content") or "" for d in deltas) == ("" if names else said) and
              [p["function"]["name"] for p in parts if "id" in p] == names and
              "".join(p["function"]["arguments"] for p in parts) == "".join(c["function"]["arguments"] for c in calls) and
              len(parts) >= 9 * len(names), deltas)
    both = server.get(CHAT, chat(tools=TOOLS, max_tokens=200, grammar="root ::= " + json.dumps(CALL + "; " + NEXT)))
    message = both["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": c["id"], "content": f"result of {c['function']['name']}"}
               for c in message["tool_calls"]]
    prompt = server.get("/apply-template", {"messages": USER + [message] + results[::-1], "tools": TOOLS})["prompt"]
    said = [prompt.rfind(part) for part in ('{"name": "first", "parameters"', "result of first",
                                            '{"name": "second", "parameters"', "result of second")]
    check(f"{name}: several calls of a turn are shown one by one", said == sorted(said) and said[0] > 0, prompt[-900:])
    server.stop()

# ---- more context than the model was trained for: the header says so, before the weights are read ----
spoilt = tiny_model("spoilt")
with open(os.path.join(spoilt, "model.safetensors"), "r+b") as f:
    weights = 8 + int.from_bytes(f.read(8), "little")
    size = f.seek(0, os.SEEK_END) - weights
    f.seek(weights)
    f.write(b"\xff" * size)  # not a number among them
refusal = subprocess.run([HONE, "serve", f"tiny={spoilt}", "--ctx", "8192", "--port", "0", "--no-sandbox"],
                         capture_output=True, text=True, timeout=120 * SLOW)
check("more context than the model was trained for is refused", refusal.returncode == 2 and
      "trained for 4096" in refusal.stderr, refusal)

# ---- numbers ----
server = Server(f"tiny={model}", "--ctx", "2048")
usage = server.get(CHAT, chat(n=2))["usage"]
for body in (b"{", chat(model="none"), chat(temperature="hot")):
    server.ask(CHAT, body)
numbers = dict(line.rsplit(" ", 1) for line in server.ask("/metrics")[1].splitlines() if line.startswith("hone_"))
check("an answer is counted before it is whole", numbers['hone_generation_tokens_total{model="tiny"}'] ==
      str(usage["completion_tokens"]) and numbers['hone_time_to_first_token_seconds_count{model="tiny"}'] == "2", numbers)
check("and so are those that are refused", numbers["hone_requests_refused_total"] == "3", numbers)
server.stop()

# ---- several models, opened and closed as they are asked for ----
other = tiny_model("other", TEMPLATE.replace("user", "USER"))
server = Server(f"tiny={model}", f"other={other}", "--lazy", "--idle-unload", "1", "--ctx", "512", "--adapter",
                f"other:tone={os.path.join(MODELS, 'llama3_lora')}")


def loaded():
    text = server.ask("/metrics")[1]
    return [line.split()[-1] for line in text.splitlines() if line.startswith("hone_model_loaded{")]


check("nothing is open", loaded() == ["0", "0"], loaded())
check("the second model", server.get(CHAT, chat(model="other"))["model"] == "other")
check("its adapter", server.get(CHAT, chat(model="tone"))["model"] == "tone")
check("the first", server.get(CHAT, chat())["model"] == "tiny")
until = time.time() + 60 * SLOW
while loaded() != ["0", "0"] and time.time() < until:
    time.sleep(0.1)
check("idle models are closed", loaded() == ["0", "0"], loaded())
adapters = server.get("/lora-adapters?model=other")
check("looking opens nothing", server.get("/slots") == [] and adapters[0]["name"] == "tone" and
      server.get("/v1/models/tone")["parent"] == "other" and loaded() == ["0", "0"], loaded(), adapters)
check("and opened again", server.get(CHAT, chat(model="other"))["model"] == "other")
check("its slots", len(server.get("/slots?x=1&model=othe%72")) == 16)
refused("of a model that isn't there", "/slots?model=none", None, "model", 404, "model_not_found")
while loaded() != ["0", "0"] and time.time() < until:  # though somebody looks all the time
    server.get("/slots?model=other")
    time.sleep(0.05)
check("who looks doesn't keep it open", loaded() == ["0", "0"], loaded())
server.stop()

# ---- memory for one of two ----
one = os.path.getsize(os.path.join(model, "model.safetensors"))
server = Server(f"tiny={model}", f"other={other}", "--memory", str(1.5 * one / 1e9), "--ctx", "2048", "--slots", "2")
check("as many are opened as there is room for", loaded() == ["1", "0"], loaded())
check("the idle one makes room", server.get(CHAT, chat(model="other"))["model"] == "other" and loaded() == ["0", "1"])
check("and the other way", server.get(CHAT, chat())["model"] == "tiny" and loaded() == ["1", "0"], loaded())
busy = reader_of(chat(n=128, max_tokens=1900, ignore_eos=True))
while not any(slot["is_processing"] for slot in server.get("/slots")):
    time.sleep(0.01)
status, value, headers = server.ask(CHAT, chat(model="other"))
check("one in use doesn't", status == 503 and int(headers["Retry-After"]) > 0 and "memory" in value["error"]["message"],
      status, value)
busy.close()
while any(slot["is_processing"] for slot in server.get("/slots")):
    time.sleep(0.05)
codes = []
threads = [threading.Thread(target=lambda i=i: codes.append(server.ask(CHAT, chat(model=("tiny", "other")[i % 2]))[0]))
           for i in range(16)]
[t.start() for t in threads]
while any(t.is_alive() for t in threads):
    server.ask("/metrics")
[t.join() for t in threads]
check("who asks for both at once is answered, or told to come back", set(codes) <= {200, 503} and 200 in codes, codes)
check("in the end each is opened", server.get(CHAT, chat())["model"] == "tiny" and
      server.get(CHAT, chat(model="other"))["model"] == "other")
server.stop()
finish()

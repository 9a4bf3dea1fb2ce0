#!/usr/bin/env python3
"""Records what transformers renders for a matrix of conversations and templates.

    record_templates.py SHARED_DATA OUT.json

SHARED_DATA holds tokenizers/chat_templates/*.jinja and smollm2/chat_template.jinja. The cases
(conversations and options) are written into the file once; each result is a hash of the output,
with its text where that is short, or null where Python raises. Needs transformers and jinja2."""
import hashlib
import json
import os
import sys
import time
from datetime import datetime as real_datetime
from pathlib import Path

os.environ["TZ"] = "UTC"
time.tzset()
import transformers.utils.chat_template_utils as utils  # noqa: E402

NOW = 1753000000  # 2025-07-20 08:26:40 UTC
SHORT = 220  # longer texts are told by their hash alone


class FixedDatetime(real_datetime):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.fromtimestamp(NOW)


utils.datetime = FixedDatetime


def function(name, description, properties, required):
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object", "properties": properties, "required": required}}}


WEATHER = function("get_weather", "Current weather <b>&amp;</b> of a \"city\"'s area",
                   {"city": {"type": "string", "description": "Its näme"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}, ["city"])
ADD = function("add", "Adds", {"a": {"type": "number"}, "b": {"type": ["number", "null"],
               "default": 1.5}, "deep": {"type": "array", "items": {"type": "object",
               "properties": {"x": {"type": "integer"}}}}}, [])
NOARGS = {"type": "function", "function": {"name": "ping", "description": "Ping",
                                           "parameters": {"type": "object", "properties": {}}}}
BARE = {"name": "bare", "description": "Not wrapped",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}


def call(name, arguments, id="abcdef123"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def u(text):
    return {"role": "user", "content": text}


def a(text, **more):
    return {"role": "assistant", "content": text, **more}


def s(text):
    return {"role": "system", "content": text}


def tool(text, **more):
    return {"role": "tool", "content": text, **more}


CONVERSATIONS = {
    "user": [u("Hi there")],
    "system": [s("You are terse."), u("Hi")],
    "turns": [u("One"), a("1"), u("Two"), a("2"), u("Three")],
    "system_turns": [s(" Padded system \n"), u("  padded \n"), a("\n answer "), u("more")],
    "ends_assistant": [u("Say it"), a("It is said")],
    "ends_spaced": [u("Say it"), a("It is said  \n ")],
    "empty": [u("")],
    "empty_system": [s(""), u("x"), a("")],
    "unicode": [s("Größe 🦊"), u("日本語 – «ça» \u200d👩‍🚀 \u00a0"), a("İstanbul ΑΣ ß")],
    "odd_text": [u("{{ 1 }} {% x %} <|im_end|> \\n \"q\" 'p' \t\r\n<think>a</think>"), a("[INST] </s>")],
    "long": [u("word " * 200), a("reply " * 100), u("again")],
    "two_users": [u("a"), u("b")],
    "two_assistants": [u("a"), a("b"), a("c"), u("d")],
    "starts_assistant": [a("Hello"), u("Hi")],
    "late_system": [u("a"), a("b"), s("Be nice"), u("c")],
    "only_system": [s("alone")],
    "tool_turn": [u("Weather in Paris?"),
                  a("", tool_calls=[call("get_weather", {"city": "Paris", "unit": "celsius"})]),
                  tool("{\"temp\": 21.5}", name="get_weather", tool_call_id="abcdef123"),
                  a("It is 21.5."), u("Thanks")],
    "tool_none_content": [u("Weather?"),
                          {"role": "assistant", "content": None,
                           "tool_calls": [call("get_weather", {"city": "Köln"})]},
                          tool("sunny", name="get_weather", tool_call_id="abcdef123")],
    "tool_no_content": [u("Weather?"), {"role": "assistant",
                                        "tool_calls": [call("get_weather", {"city": "Rom"})]},
                        tool("hot", tool_call_id="abcdef123")],
    "tool_string_args": [u("w"), a("Let me see", tool_calls=[call("add", "{\"a\": 1, \"b\": 2}")]),
                         tool("3", name="add", tool_call_id="abcdef123"), a("3")],
    "tool_two_calls": [s("Use tools"), u("both"),
                       a("", tool_calls=[call("add", {"a": 1, "b": None, "c": True, "d": [1, 2.0, "x"]}),
                                         call("ping", {}, "abcdef456")]),
                       tool("2", name="add", tool_call_id="abcdef123"),
                       tool("pong", name="ping", tool_call_id="abcdef456")],
    "tool_json_result": [u("w"), a("", tool_calls=[call("ping", {}, "123456789")]),
                         {"role": "tool", "name": "ping", "tool_call_id": "123456789",
                          "content": {"a": [1, 2], "ü": None}}, u("so?")],
    "tool_bad_id": [u("w"), a("", tool_calls=[call("ping", {}, "x")]), tool("pong", tool_call_id="x")],
    "tool_plan": [u("plan"), {"role": "assistant", "tool_plan": "I will add", "tool_calls":
                              [call("add", {"a": 2})]}, tool("2", tool_call_id="abcdef123"),
                  a("done")],
    "ipython": [u("run"), a("x"), {"role": "ipython", "content": "out"}],
    "reasoning": [u("Q"), a("A", reasoning_content="Because.\nYes."), u("Q2"),
                  a("A2", reasoning_content="\nthink two\n")],
    "reasoning_key": [u("Q"), a("A", reasoning="old name")],
    "thinking_key": [u("Q"), a("A", thinking="by thinking"), u("R")],
    "think_in_content": [u("Q"), a("<think>\nhidden\n</think>\n\nshown"), u("again"),
                         a("<think>x</think>y")],
    "reasoning_tool": [u("Q"), a("", reasoning_content="need tool",
                                 tool_calls=[call("add", {"a": 1})]),
                       tool("1", name="add", tool_call_id="abcdef123"), a("One", reasoning_content="r")],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "part one"},
                                           {"type": "text", "text": "part two "}]}],
    "parts_image": [s("see"), {"role": "user", "content": [{"type": "image"},
                                                           {"type": "text", "text": "what?"}]}],
    "parts_assistant": [u("x"), {"role": "assistant", "content": [{"type": "text", "text": "a b"}]}],
    "parts_system": [{"role": "system", "content": [{"type": "text", "text": "sys"}]}, u("q")],
    "documents_user": [u("Which is oldest?"), a("The first"), u("Sure?")],
    "odd_role": [{"role": "developer", "content": "dev"}, u("x")],
    "critic": [u("a"), {"role": "critic", "content": "b"}],
    "no_content": [{"role": "user"}],
    "number_content": [u(5)],
    "bool_content": [u(True), a(None)],
    "think_flags": [s("/no_think You help."), u("q /think"), a("b")],
    "think_system": [s("Custom instructions /system_override"), u("q")],
    "name_fields": [{"role": "user", "name": "Ann", "content": "hi"}, a("yo", name="bot")],
}

DOCS = [{"title": "First", "text": "Old text"}, {"title": "Zweite", "text": "Neu <&>", "n": 3}]
OPTIONS = {
    "plain": {},
    "prompt": {"add_generation_prompt": True},
    "continue": {"continue_final_message": True},
    "tools": {"tools": [WEATHER, ADD], "add_generation_prompt": True},
    "tools_no_prompt": {"tools": [NOARGS]},
    "tools_bare": {"tools": [BARE], "add_generation_prompt": True},
    "no_tools": {"tools": [], "add_generation_prompt": True},
    "thinking_off": {"add_generation_prompt": True, "extra": {"enable_thinking": False}},
    "thinking_on": {"add_generation_prompt": True, "extra": {"enable_thinking": True, "thinking": True}},
    "documents": {"documents": DOCS, "add_generation_prompt": True},
    "extras": {"add_generation_prompt": True, "tools": [ADD], "extra": {
        "date_string": "01 Jan 2025", "tools_in_user_message": False, "builtin_tools": ["code_interpreter", "brave_search"],
        "custom_tools": [WEATHER], "xml_tools": ["def f(): pass"], "python_tools": ["print"],
        "controls": {"length": "short"}, "reasoning_effort": "high", "citations": True,
        "keep_past_thinking": True, "developer_instructions": "dev"}},
    "citations": {"documents": DOCS, "tools": [WEATHER], "extra": {"enable_citations": True, "citation_quality": "on",
                  "safety_mode": "none", "skip_thinking": True, "available_tools": [WEATHER]}},
    "no_tokens": {"no_tokens": True, "add_generation_prompt": True},
}
FEW = ["user", "turns", "system_turns", "tool_turn", "reasoning", "unicode", "parts"]
WIDE = {"plain", "prompt", "continue", "tools"}


def render(template, messages, options):
    tokens = {} if options.get("no_tokens") else {"bos_token": "<BOS>", "eos_token": "<EOS>"}
    try:
        if options.get("continue_final_message") and options.get("add_generation_prompt"):
            raise ValueError
        messages = [{k: v for k, v in m.items() if v is not None} for m in messages]
        texts, _ = utils.render_jinja_template(
            conversations=[messages], chat_template=template, tools=options.get("tools"),
            documents=options.get("documents"),
            add_generation_prompt=options.get("add_generation_prompt", False),
            continue_final_message=options.get("continue_final_message", False),
            **{**tokens, **options.get("extra", {})})
        return texts[0]
    except Exception:  # whatever Python raises, hone must fail, too
        return None


def spans(template, messages):
    """Where the generation blocks landed, in bytes of UTF-8; None where Python raises."""
    try:
        messages = utils._alias_reasoning_fields([{k: v for k, v in m.items() if v is not None} for m in messages])
        text, indices = utils._render_with_assistant_indices(
            utils._compile_jinja_template(template), messages, None, None, False, bos_token="<BOS>", eos_token="<EOS>")
        return [[len(text[:i].encode()) for i in pair] for pair in indices]
    except Exception:
        return None


def main(shared, out):
    shared = Path(shared)
    paths = sorted((shared / "tokenizers/chat_templates").glob("*.jinja"))
    paths.append(shared / "smollm2/chat_template.jinja")
    templates = {str(p.relative_to(shared)): p.read_bytes().decode() for p in paths}
    cases = [[c, o] for o in OPTIONS for c in CONVERSATIONS if o in WIDE or c in FEW]
    results = {}
    for name, template in templates.items():
        rows = []
        for c, o in cases:
            text = render(template, json.loads(json.dumps(CONVERSATIONS[c])), json.loads(json.dumps(OPTIONS[o])))
            if text is None:
                rows.append(None)
            elif len(text) <= SHORT and o in ("plain", "continue"):
                rows.append(text)
            else:
                rows.append({"h": hashlib.sha256(text.encode()).hexdigest()[:24]})
        results[name] = rows
    data = {"now": NOW, "conversations": CONVERSATIONS, "options": OPTIONS, "cases": cases, "results": results,
            "spans": {n: {c: spans(t, json.loads(json.dumps(m))) for c, m in CONVERSATIONS.items()}
                      for n, t in templates.items() if "endgeneration" in t}}
    Path(out).write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")
    n = sum(len(r) for r in results.values())
    print(f"{len(results)} templates, {n} renders, {sum(x is None for r in results.values() for x in r)} errors")


if __name__ == "__main__":
    main(*sys.argv[1:3])

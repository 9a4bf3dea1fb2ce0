"""Real clients against `hone serve` over a tiny model: the openai package, langchain-openai, the llm
command, anthropic's package, curl. They run in the Python that HONE_CLIENTS_PYTHON names (scripts/client-python
makes one in the cache folder); what isn't installed there is skipped. Prints a TAP line for each check."""
import importlib.util
import json
import os
import shutil
import subprocess
import sys

CACHE = os.environ.get("HONE_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hone")
PYTHON = os.environ.get("HONE_CLIENTS_PYTHON") or os.path.join(CACHE, "clients-python", "bin", "python")
if os.path.isfile(PYTHON) and not os.environ.get("HONE_IS_CLIENT"):
    os.environ["HONE_IS_CLIENT"] = "1"
    os.execv(PYTHON, [PYTHON, *sys.argv])

from serving import MODELS, Server, tiny_model  # noqa: E402
from tap import SLOW, check, finish, skip, work  # noqa: E402

model = tiny_model()
server = Server(f"tiny={model}", "--adapter", f"lora={os.path.join(MODELS, 'llama3_lora')}", "--ctx", "2048", "--kv-type",
                "f32")
BASE = f"http://127.0.0.1:{server.port}"
USER = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
          "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": SCHEMA}}
direct = server.get("/v1/chat/completions", {"messages": USER, "temperature": 0, "max_tokens": 12})
TEXT = direct["choices"][0]["message"]["content"]


def has(module):
    found = importlib.util.find_spec(module) is not None
    if not found:
        skip(module, "not installed (scripts/client-python)")
    return found


def openai_package():
    import openai
    how = dict(base_url=BASE + "/v1", api_key="none", max_retries=0, timeout=60 * SLOW)
    client = openai.OpenAI(**how, _strict_response_validation=True)  # every answer has all that its type says
    chat = client.chat.completions
    plain = dict(model="tiny", messages=USER, temperature=0, max_tokens=12)
    check("openai: models", [m.id for m in client.models.list()] == ["tiny", "lora"])
    check("openai: one model", client.models.retrieve("tiny").id == "tiny")
    answer = chat.create(**plain)
    check("openai: chat", answer.choices[0].message.content == TEXT and answer.usage.total_tokens > 12, answer)
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    check("openai: parts", chat.create(**dict(plain, messages=parts)).choices[0].message.content == TEXT)
    chunks = list(chat.create(**plain, stream=True, stream_options={"include_usage": True}))
    check("openai: stream", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT and
          chunks[-1].usage.completion_tokens == 12 and chunks[-2].choices[0].finish_reason == "length", chunks[-2:])
    with chat.stream(**plain, extra_body={"grammar": 'root ::= "yes"'}) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    check("openai: stream helper", final.choices[0].message.content == "yes" and "content.delta" in kinds, kinds)
    logprobs = chat.create(**plain, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    check("openai: logprobs", len(logprobs) == 12 and len(logprobs[0].top_logprobs) == 2, logprobs[:1])
    check("openai: n", len({c.index for c in chat.create(**dict(plain, n=3)).choices}) == 3)
    called = chat.create(**dict(plain, max_tokens=200), tools=[TOOL], tool_choice="required").choices[0]
    check("openai: tools", called.finish_reason == "tool_calls" and
          json.loads(called.message.tool_calls[0].function.arguments)["city"] in ("Paris", "Rome"), called)
    follow = USER + [called.message, {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "sun"}]
    check("openai: a tool's result", chat.create(**dict(plain, messages=follow), tools=[TOOL]).choices)
    with chat.stream(**dict(plain, max_tokens=200), tools=[TOOL], tool_choice="required") as stream:
        for _ in stream:
            pass
        made = stream.get_final_completion().choices[0].message.tool_calls[0]
    check("openai: streamed tools", json.loads(made.function.arguments)["city"] in ("Paris", "Rome"), made)
    openai_structured(client, plain)
    openai_others(client)
    openai_loose(openai.OpenAI(**how))
    openai_errors(openai, client, plain)


def openai_structured(client, plain):
    from enum import Enum

    from pydantic import BaseModel

    class Colour(str, Enum):
        red = "red"
        blue = "blue"

    class Part(BaseModel):
        colour: Colour
        large: bool

    class Thing(BaseModel):
        parts: tuple[Part, Part] | None
        front: Part

    class Simple(BaseModel):
        front: Part
        colours: list[Colour]

    for kind in (Simple, Thing):
        try:
            answer = client.chat.completions.parse(**dict(plain, max_tokens=600), response_format=kind)
        except Exception as problem:  # a tuple's prefixItems is what OpenAI itself refuses
            check(f"openai: structured output ({kind.__name__})", kind is Thing and "400" in str(problem), problem)
            continue
        parsed = answer.choices[0].message.parsed
        check(f"openai: structured output ({kind.__name__})", isinstance(parsed, kind) and
              parsed.front.colour in Colour, answer)


def openai_loose(client):
    """Where the package's types don't say what OpenAI answers: null for the probability of a prompt's first token, and
    base64, which it asks for itself."""
    text = client.completions.create(model="tiny", prompt=["a", "b"], max_tokens=3, temperature=0, logprobs=2, echo=True)
    check("openai: echo", text.choices[1].text.startswith("b") and text.choices[0].logprobs.tokens[0], text)
    vectors = client.embeddings.create(model="tiny", input=["hello", "you"])  # asks for base64 by default
    floats = client.embeddings.create(model="tiny", input="hello", encoding_format="float")
    check("openai: embeddings", len(vectors.data) == 2 and
          max(abs(a - b) for a, b in zip(vectors.data[0].embedding, floats.data[0].embedding)) < 1e-6)


def openai_others(client):
    text = client.completions.create(model="tiny", prompt=["a", "b"], max_tokens=3, temperature=0, logprobs=2)
    check("openai: completions", len(text.choices) == 2 and len(text.choices[0].logprobs.top_logprobs) == 3, text)
    answer = client.responses.create(model="tiny", input="Hello", temperature=0, max_output_tokens=12)
    check("openai: responses", answer.output_text == TEXT and answer.status == "incomplete", answer)
    answer = client.responses.create(model="tiny", input="Hello", max_output_tokens=5, top_logprobs=2,
                                     include=["message.output_text.logprobs"])
    check("openai: responses' logprobs", len(answer.output[0].content[0].logprobs[0].top_logprobs) == 2, answer)
    with client.responses.stream(model="tiny", input="Hello", temperature=0, max_output_tokens=12) as stream:
        deltas = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
    check("openai: streamed responses", deltas == TEXT, deltas)
    flat = dict(TOOL["function"], type="function", strict=True)
    answer = client.responses.create(model="tiny", input="Hello", temperature=0, max_output_tokens=200, tools=[flat],
                                     tool_choice="required")
    check("openai: responses call tools", json.loads(answer.output[0].arguments)["city"] in ("Paris", "Rome"), answer)
    check("openai: responses say again what was asked for", answer.tools[0].to_dict() == flat and
          answer.tool_choice == "required" and answer.max_output_tokens == 200 and answer.text.format.type == "text", answer)


def openai_errors(openai, client, plain):
    def raised(kind, **fields):
        try:
            client.chat.completions.create(**dict(plain, **fields))
        except openai.OpenAIError as problem:
            return type(problem) is kind and problem.status_code >= 400
        return False

    check("openai: BadRequestError", raised(openai.BadRequestError, temperature=9))
    check("openai: NotFoundError", raised(openai.NotFoundError, model="none"))
    check("openai: too long", raised(openai.BadRequestError, messages=[{"role": "user", "content": "x" * 9000}]))
    keys = os.path.join(work, "keys")
    with open(keys, "w") as f:
        f.write("secret-key\n")
    closed = Server(f"tiny={model}", "--api-keys", keys)
    other = openai.OpenAI(base_url=f"http://127.0.0.1:{closed.port}/v1", api_key="wrong", max_retries=0)
    try:
        other.models.list()
        check("openai: AuthenticationError", False)
    except openai.AuthenticationError:
        check("openai: AuthenticationError", True)
    other = openai.OpenAI(base_url=f"http://127.0.0.1:{closed.port}/v1", api_key="secret-key", max_retries=0)
    check("openai: the right key", len(list(other.models.list())) == 1)
    closed.stop()


def langchain():
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    @tool
    def weather(city: str) -> str:
        """The weather of a city."""
        return city

    def chat(n):
        return ChatOpenAI(base_url=BASE + "/v1", api_key="none", model="tiny", temperature=0, max_tokens=n, max_retries=0)

    check("langchain: invoke", chat(12).invoke("Hello").content == TEXT)
    check("langchain: stream", "".join(c.content for c in chat(12).stream("Hello")) == TEXT)
    called = chat(300).bind_tools([dict(TOOL)], tool_choice="weather").invoke("Hello")
    check("langchain: tools", called.tool_calls[0]["args"]["city"] in ("Paris", "Rome"), called)
    made = chat(300).with_structured_output(dict(SCHEMA, title="place", description="A place")).invoke("Hello")
    check("langchain: structured output", made["city"] in ("Paris", "Rome"), made)
    vectors = OpenAIEmbeddings(base_url=BASE + "/v1", api_key="none", model="tiny", check_embedding_ctx_length=False)
    check("langchain: embeddings", len(vectors.embed_documents(["a", "b"])) == 2)


def llm():
    folder = os.path.join(work, "llm")
    os.makedirs(folder)
    with open(os.path.join(folder, "extra-openai-models.yaml"), "w") as f:
        f.write(f"- model_id: hone\n  model_name: tiny\n  api_base: {BASE}/v1\n")
    env = dict(os.environ, LLM_USER_PATH=folder, OPENAI_API_KEY="none")
    command = [sys.executable, "-m", "llm", "-m", "hone", "-o", "temperature", "0", "-o", "max_tokens", "12", "--no-log"]
    for name, more in (("streamed", []), ("whole", ["--no-stream"])):
        run = subprocess.run(command + more + ["Hello"], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        check(f"llm: {name}", run.returncode == 0 and run.stdout.strip() == TEXT.strip(), run.stdout, run.stderr[-800:], TEXT)


def anthropic_package():
    import anthropic
    client = anthropic.Anthropic(base_url=BASE, api_key="none", max_retries=0)
    plain = dict(model="tiny", max_tokens=12, messages=USER, extra_body={"temperature": 0})
    check("anthropic: messages", client.messages.create(**plain).content[0].text == TEXT)
    with client.messages.stream(**plain) as stream:
        check("anthropic: stream", "".join(stream.text_stream) == TEXT)
    tool = {"name": "weather", "input_schema": SCHEMA}
    answer = client.messages.create(**dict(plain, max_tokens=200), tools=[tool], tool_choice={"type": "any"})
    check("anthropic: tools", answer.content[0].input["city"] in ("Paris", "Rome"), answer)
    check("anthropic: tokens", client.messages.count_tokens(model="tiny", messages=USER).input_tokens > 0)
    try:
        client.messages.create(**dict(plain, max_tokens=-5))
        check("anthropic: BadRequestError", False)
    except anthropic.BadRequestError:
        check("anthropic: BadRequestError", True)


def curl():
    body = json.dumps({"messages": USER, "temperature": 0, "max_tokens": 12})
    run = subprocess.run(["curl", "-sf", BASE + "/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body],
                         capture_output=True, text=True)
    check("curl", run.returncode == 0 and json.loads(run.stdout)["choices"][0]["message"]["content"] == TEXT, run.stderr)


if shutil.which("curl"):
    curl()
else:
    skip("curl", "not installed")
if has("openai"):
    openai_package()
if has("langchain_openai"):
    langchain()
if has("llm"):
    llm()
if has("anthropic"):
    anthropic_package()
server.stop()
finish()

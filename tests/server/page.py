"""The web page of `hone serve` in Chromium: what a person does with it, and what they see when something
goes wrong. Needs the Python package playwright (scripts/client-python) and a Chromium (CHROMIUM names it);
without, it says so. HONE_TEST_SHOTS names a folder for screenshots. Prints a TAP line for each check."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

CACHE = os.environ.get("HONE_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hone")
PYTHON = os.environ.get("HONE_CLIENTS_PYTHON") or os.path.join(CACHE, "clients-python", "bin", "python")
if os.path.isfile(PYTHON) and not os.environ.get("HONE_IS_CLIENT"):
    os.environ["HONE_IS_CLIENT"] = "1"
    os.execv(PYTHON, [PYTHON, *sys.argv])

from serving import HONE, MODELS, Server, tiny_model  # noqa: E402
from tap import SLOW, check, finish, skip, work  # noqa: E402

try:
    from playwright.sync_api import Error, expect, sync_playwright  # noqa: E402
except ImportError:
    skip("the web page in a browser", "no Python with playwright (scripts/client-python makes one)")
    finish()
chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
if not chromium:
    skip("the web page in a browser", "no Chromium (Debian's package chromium)")
    finish()

PAUSE_MS = 120000 * SLOW  # far more than a busy machine needs
base = os.path.join(CACHE, "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
tiny = tiny_model()
lora = os.path.join(MODELS, "llama3_lora")
# The base model where it is there and there is time for it; a tiny one writes random bytes, thousands a second.
is_base = os.path.exists(base) and not os.environ.get("HONE_TEST_SANITIZER")
big = base if is_base else tiny_model("big")
expect.set_options(timeout=PAUSE_MS)
server = Server(f"big={big}", f"tiny={tiny}", "--adapter", f"tiny:lora={lora}", "--ctx", "1024", "--slots", "4",
                "--weights-cache", "off")
keys = os.path.join(work, "keys")
with open(keys, "w") as f:
    f.write("right-key\n")
keyed = Server(f"tiny={tiny}", "--ctx", "256", "--slots", "2", "--api-keys", keys)
ADDRESS, KEYED = f"http://127.0.0.1:{server.port}", f"http://127.0.0.1:{keyed.port}"
COMPLETIONS = "**/v1/chat/completions"


# ---- the files ----
status, text, head = server.ask("/")
check("the page is there, without a key too", status == 200 and "<title>hone</title>" in text and keyed.ask("/")[0] == 200)
check("its policy lets nothing in", "default-src 'none'" in head["Content-Security-Policy"] and
      "unsafe" not in head["Content-Security-Policy"] and head["X-Content-Type-Options"] == "nosniff", head)
status, again, _ = server.ask("/", headers={"If-None-Match": head["ETag"]})
check("a known file isn't sent again", status == 304 and again == "", status, again)
check("another tag is no known file", server.ask("/", headers={"If-None-Match": '"0"'})[0] == 200)
check("a file that isn't there", server.ask("/page/nothing.js")[0] == 404 and server.ask("/page/../index.html")[0] == 404)
kinds = {name: server.ask(f"/page/{name}")[2]["Content-Type"] for name in ("main.js", "base.css", "icon.svg")}
check("types", kinds == {"main.js": "text/javascript; charset=utf-8", "base.css": "text/css; charset=utf-8",
                         "icon.svg": "image/svg+xml"}, kinds)


# ---- a browser ----
seen = []  # all addresses asked for
wrong = []  # errors in the page


class Page:
    """A page in a context of its own."""

    def __init__(self, browser, address, scheme="light", width=1280, height=800, **options):
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height},
                                           accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PAUSE_MS)
        self.bodies = []  # of requests for answers
        self.page.on("request", self.note)
        self.page.on("pageerror", lambda e: wrong.append(str(e)))
        self.page.on("console", lambda m: wrong.append(m.text) if m.type == "error" and "Failed to load" not in m.text else None)
        self.page.goto(address)

    def note(self, request):
        seen.append(request.url)
        if "/completions" in request.url:
            self.bodies.append(request.post_data_json)

    def write(self, text):
        self.page.fill("#message", text)
        self.page.keyboard.press("Enter")

    def ended(self, state="done"):
        """Waits for the last answer to be in that state; returns its text."""
        last = self.page.locator("li.assistant").last
        expect(last).to_have_attribute("data-state", state)
        return last.locator(".text").last.inner_text()

    def ask(self, text, state="done"):
        self.write(text)
        return self.ended(state)

    def act(self, name, turn="li.assistant"):
        self.page.locator(f"{turn} [data-act={name}]").last.click()

    def shot(self, name):
        if os.environ.get("HONE_TEST_SHOTS"):
            self.page.screenshot(path=os.path.join(os.environ["HONE_TEST_SHOTS"], f"{name}.png"))

    def answers(self, text, events):
        """The next answers are made up: these events, and no more."""
        data = "".join(f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n" for e in events)
        self.page.route(COMPLETIONS, lambda route: route.fulfill(
            status=200, content_type="text/event-stream", body=data))
        self.write(text)

    def problem(self):
        return self.page.locator("li.assistant").last.get_by_role("alert")


def delta(text):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def chatting(p):
    page = p.page
    expect(page.locator("#welcome-title")).to_have_text("Chat with big")
    page.fill("#f-temperature", "0")
    page.fill("#f-max_tokens", "24")
    page.fill("#system", "You are brief.")
    page.fill("#message", "Name two")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("colours.")
    check("Shift+Enter starts a line", page.input_value("#message") == "Name two\ncolours." and not p.bodies)
    page.keyboard.press("Enter")
    first = p.ended()
    body = p.bodies[-1]
    check("Enter sends", body["messages"] == [{"role": "system", "content": "You are brief."},
                                              {"role": "user", "content": "Name two\ncolours."}], body)
    check("settings are sent, and no empty ones", body["temperature"] == 0 and body["max_tokens"] == 24 and
          body["model"] == "big" and "top_p" not in body and "stop" not in body, body)
    stats = page.locator("li.assistant .stats").inner_text()
    check("tokens a second and the time to the first token", re.search(r"\d tokens/s .* first token after [\d.,]+ m?s", stats), stats)
    check("a finished answer is read aloud", page.locator("#finished").inner_text().split() == first.split(),
          page.locator("#finished").inner_text(), first)
    expect(page.locator("#send")).to_be_visible()
    check("the field has the focus still", page.evaluate("document.activeElement.id") == "message")
    p.shot("chat-light")


def versions(p):
    page = p.page
    page.fill("#f-temperature", "1.5")
    p.act("again")
    p.ended()
    expect(page.locator("li.assistant .step span")).to_have_text("2/2")
    check("regenerating asks the same", p.bodies[-1]["messages"] == p.bodies[-2]["messages"])
    check("the focus isn't lost", page.evaluate("document.activeElement.closest('article') !== null"))
    second = page.locator("li.assistant .text").last.inner_text()
    p.act("previous")
    first = page.locator("li.assistant .text").last.inner_text()
    expect(page.locator("li.assistant .step span")).to_have_text("1/2")
    p.act("up")
    expect(page.locator("[data-act=up]")).to_have_attribute("aria-pressed", "true")
    p.act("next")
    p.act("edit")
    page.keyboard.press("Control+A")
    page.keyboard.type("Something else.")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("li.assistant .step span")).to_have_text("3/3")
    p.act("down")
    with page.expect_download() as download:
        page.click("#get-pairs")
    pairs = os.path.join(work, "pairs.jsonl")
    download.value.save_as(pairs)
    rows = [json.loads(line) for line in open(pairs)]
    check("a pair of answers is a row for hone dpo", len(rows) == 1 and rows[0]["rejected"] == "Something else." and
          rows[0]["prompt"] == p.bodies[0]["messages"] and rows[0]["chosen"].split() == first.split(), rows, second)
    with page.expect_download() as download:
        page.click("#get-liked")
    liked = os.path.join(work, "liked.jsonl")
    download.value.save_as(liked)
    said = [subprocess.run([HONE, "data", "check", path], capture_output=True, text=True) for path in (pairs, liked)]
    check("hone data check takes both", all(s.returncode == 0 for s in said), *[s.stderr for s in said])
    trained = subprocess.run([HONE, "dpo", tiny, pairs, "--max-steps", "1", "-o", os.path.join(work, "dpo")],
                             capture_output=True, text=True)
    check("hone dpo takes the pairs", trained.returncode == 0, trained.stderr[-800:])


def editing(p):
    page = p.page
    p.act("edit", "li.user")
    page.keyboard.press("Escape")
    check("Escape leaves an edit", page.locator(".editor").count() == 0 and
          page.evaluate("document.activeElement.dataset.act") == "edit")
    p.act("edit", "li.user")
    p.shot("edit")
    page.keyboard.press("Control+A")
    page.keyboard.type("Name a fruit.")
    page.keyboard.press("Enter")
    p.ended()
    check("going on from an edited message", [m["content"] for m in p.bodies[-1]["messages"]] == ["You are brief.", "Name a fruit."])
    p.ask("And another one.")
    check("the conversation is sent", [m["role"] for m in p.bodies[-1]["messages"]] == ["system", "user", "assistant", "user"])
    page.locator("li.user [data-act=previous]").first.click()
    texts = page.locator("article > .text").all_inner_texts()
    check("the other branch is still there", texts == ["Name two\ncolours.", "Something else."], texts)


def stopping(p):
    page = p.page
    if not is_base:
        skip("Escape stops", "no base model, or no time for it")
        return
    page.click("#new-chat")
    page.fill("#f-max_tokens", "900")
    page.fill("#f-temperature", "1.5")
    p.write("Tell me a very long story.")
    expect(page.locator("li.assistant[data-state=streaming]")).to_be_visible()
    p.shot("streaming")
    page.keyboard.press("Escape")
    p.ended("stopped")
    check("Escape stops", "stopped" in page.locator("li.assistant .stats").inner_text())
    until = time.time() + 60 * SLOW
    while any(s["is_processing"] for s in server.get("/slots")) and time.time() < until:
        time.sleep(0.05)
    check("the server has stopped too", not any(s["is_processing"] for s in server.get("/slots")))


def wrong_settings(p):
    page = p.page
    page.fill("#f-max_tokens", "16")
    page.fill("#f-temperature", "9")
    n = len(p.bodies)
    p.write("Hello")
    check("a wrong setting is shown, and not sent", page.get_attribute("#f-temperature", "aria-invalid") == "true" and
          page.evaluate("document.activeElement.id") == "f-temperature" and len(p.bodies) == n)
    p.shot("wrong-setting")
    page.fill("#f-temperature", "")


def going_on(p):
    page = p.page
    page.click("#new-chat")
    page.fill("#system", "")
    page.fill("#f-temperature", "0")
    page.fill("#f-max_tokens", "64")
    whole = p.ask("Tell me a story.").split()
    page.click("#new-chat")
    page.fill("#f-max_tokens", "8")
    p.ask("Tell me a story.")
    check("an answer at its limit says so", "token limit" in page.locator("li.assistant .stats").inner_text())
    p.act("up")
    page.fill("#f-max_tokens", "56")
    p.act("more")
    text = p.ended().split()
    body = p.bodies[-1]
    check("an answer goes on where it ended", body["continue_final_message"] is True and body["messages"][-1]["role"] == "assistant" and
          (text == whole or not is_base), text, whole)
    check("it isn't rated any more", page.get_attribute("[data-act=up]", "aria-pressed") == "false")
    page.fill("#f-max_tokens", "16")
    page.fill("#f-temperature", "")


MODULES = r"""async () => {
  const {blocksOf} = await import('/page/text.js'), m = await import('/page/metrics.js');
  const samples = m.parseMetrics('# HELP a b\na{model="x\\"y"} 2\na{model="z"} 3\nh_bucket{le="1"} 2\nh_bucket{le="2"} 4\nh_bucket{le="+Inf"} 4\n');
  return {
    open: blocksOf('a\n\n\nb\nc\n```c++\nx\n\n~~~\n'),
    nested: blocksOf('````\n```\n````\nend'),
    none: blocksOf(''),
    sum: m.valueOf(samples, 'a'), one: m.valueOf(samples, 'a', 'x"y'), absent: m.valueOf(samples, 'b'),
    half: m.quantile(0.5, [], m.bucketsOf(samples, 'h')), nothing: m.quantile(0.5, m.bucketsOf(samples, 'h'), m.bucketsOf(samples, 'h')),
  }; }"""


def modules(p):
    got = p.page.evaluate(MODULES)
    check("text into blocks", got["open"] == [{"kind": "text", "text": "a"}, {"kind": "text", "text": "b\nc"},
                                              {"kind": "code", "language": "c++", "text": "x\n\n~~~\n"}] and
          got["nested"] == [{"kind": "code", "language": "", "text": "```"}, {"kind": "text", "text": "end"}] and got["none"] == [], got)
    check("metrics are read", (got["sum"], got["one"], got["absent"], got["half"], got["nothing"]) == (5, 2, 0, 1, None), got)


def adapters(p):
    page = p.page
    page.select_option("#model", "tiny")
    page.select_option("#adapter", "lora")
    page.click("#new-chat")
    p.ask("Hello")
    check("an adapter is asked for by its name", p.bodies[-1]["model"] == "lora" and "lora" not in p.bodies[-1])
    page.fill("#f-scale", "0.5")
    p.ask("Hello again")
    check("and at a scale", p.bodies[-1]["lora"] == [{"id": 0, "scale": 0.5}], p.bodies[-1])
    page.select_option("#adapter", "")
    check("which only an adapter has", page.locator("#f-scale").is_hidden())
    p.ask("Hello")
    check("and nothing else", "lora" not in p.bodies[-1] and p.bodies[-1]["model"] == "tiny", p.bodies[-1])
    page.select_option("#model", "big")
    check("a model without adapters has no choice of them", page.locator("#adapter").is_hidden())


def hostile(p):
    page = p.page
    page.click("#new-chat")
    evil = "<img src=x onerror=\"window.bad=1\"><script>window.bad=1</script> [a](javascript:1)\n\n```html\n<b>x</b>\n``` `c<i>`"
    p.answers("Hi", [delta(evil[:20]), delta(evil[20:]), {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, "[DONE]"])
    text = p.ended()
    made = page.evaluate("document.querySelectorAll('#messages :is(img, script, a, b, i)').length")
    check("a model's markup is text", "<img src=x" in text and "<b>x</b>" in text and made == 0 and
          page.evaluate("window.bad") is None, text, made)
    check("code is in a block", page.locator("figure.code pre").last.inner_text().startswith("<b>x</b>"))
    try:
        page.evaluate("document.body.innerHTML = '<p>'")
        check("the policy forbids markup from text", False)
    except Error as error:
        check("the policy forbids markup from text", "TrustedHTML" in str(error), error)
        wrong[:] = [text for text in wrong if "TrustedHTML" not in text]
    page.unroute(COMPLETIONS)


def problems(p):
    page = p.page
    page.click("#new-chat")
    p.answers("Hi", [delta("Half an")])
    p.ended("failed")
    expect(p.problem()).to_contain_text("cut before the answer was finished")
    check("a stream that is cut keeps what came", page.locator("li.assistant .text").last.inner_text() == "Half an")
    page.unroute(COMPLETIONS)
    p.answers("Hi", [delta("A"), {"error": {"message": "there is no memory", "type": "server_error", "code": None, "param": None}}])
    expect(p.problem()).to_contain_text("There is no memory.")
    check("an error within a stream is shown", True)
    page.unroute(COMPLETIONS)
    tries = []

    def busy(route):
        tries.append(time.time())
        if len(tries) == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, content_type="application/json",
                          body='{"error": {"message": "the queue is full", "code": "queue_full"}}')
        else:
            route.continue_()

    page.route(COMPLETIONS, busy)
    p.write("Hi")
    expect(page.locator("li.assistant").last).to_contain_text("Trying again in 1 s")
    p.shot("busy")
    p.ended()
    check("a busy server is asked again when it said", len(tries) == 2 and tries[1] - tries[0] >= 0.9, tries)
    page.unroute(COMPLETIONS)
    page.click("#new-chat")
    p.ask("word " * 3000, "failed")
    expect(p.problem()).to_contain_text("context")
    check("too long a conversation", p.problem().get_by_role("button", name="New chat").is_visible())
    p.shot("context")


def keeping(p):
    page = p.page
    check("nothing is kept unless asked", page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0)
    page.fill("#key", "secret-key")
    page.check("#keep")
    page.fill("#system", "Kept.")
    page.select_option("#model", "tiny")
    kept = page.evaluate("localStorage.getItem('hone')")
    check("kept when asked, the key never", "Kept." in kept and "Something else." in kept and "secret" not in kept, kept)
    page.reload()
    expect(page.locator("#model")).to_have_value("tiny")
    check("it is there again", page.input_value("#system") == "Kept." and page.input_value("#key") == "" and
          "1 pair" in page.locator("#rating-count").inner_text())
    page.uncheck("#keep")
    check("and gone", page.evaluate("localStorage.length") == 0)
    page.click("#forget-ratings")
    check("ratings can be forgotten", "No answer rated" in page.locator("#rating-count").inner_text())


def load(p):
    page = p.page
    body = {"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 100, "ignore_eos": True, "model": "big"}
    over = threading.Event()

    def ask():
        while not over.is_set():
            server.ask("/v1/chat/completions", body)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    page.goto(ADDRESS + "/#load")
    expect(page.locator("#tile-running .figure")).to_have_text("4")
    expect(page.locator("#tile-waiting .figure")).to_have_text("2")
    expect(page.locator(".slot.decode").first).to_be_visible()
    expect(page.locator("#tile-rate .figure")).not_to_have_text("0")
    check("running, waiting and slots are shown", page.locator(".slot").count() == 4)
    expect(page.locator("#tile-rate polyline")).to_have_count(1)
    p.shot("load")
    over.set()
    for thread in threads:
        thread.join()
    expect(page.locator("#tile-running .figure")).to_have_text("0")
    expect(page.locator("#slot-summary")).to_have_text("0 of 4 busy")
    check("and when it is over", True)


UNNAMED = """[...document.querySelectorAll('button, input, select, textarea, a, svg[role=img]')].filter(e => {
  const name = e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && [...e.labels].map(l => l.textContent).join(''));
  return !name; }).map(e => e.outerHTML)"""
# The least contrast of text against what lies behind it.
CONTRAST = """(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  let least = [99, ''];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || e.matches(':disabled, option') || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    let b = e; while (b && parse(getComputedStyle(b).backgroundColor)[3] === 0) b = b.parentElement;
    const [x, y] = [light(parse(getComputedStyle(e).color).slice(0, 3)), light(parse(getComputedStyle(b ?? document.body).backgroundColor).slice(0, 3))];
    const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    if (ratio < least[0]) least = [ratio, e.outerHTML.slice(0, 100)];
  }
  return least; })()"""


def access(browser):
    for scheme, width in (("light", 1280), ("dark", 1280), ("dark", 360)):
        p = Page(browser, ADDRESS, scheme, width, 740, reduced_motion="reduce")
        page = p.page
        expect(page.locator("#model option").first).to_be_attached()
        if page.locator("#settings").is_hidden():
            page.click("#open-settings")
            check("settings over the chat take the focus", page.evaluate("document.activeElement.id") == "model")
            check("what they cover can't be reached", page.evaluate("document.getElementById('chat').inert"))
        page.fill("#f-max_tokens", "12")
        page.locator("#settings summary").click()
        check(f"{scheme} {width}: settings fit", page.evaluate("document.querySelector('#settings').scrollWidth <= innerWidth"))
        p.shot(f"settings-{scheme}-{width}")
        if width == 360:
            page.keyboard.press("Escape")
            check("Escape closes them", page.locator("#settings").is_hidden() and not page.evaluate("document.getElementById('chat').inert") and
                  page.evaluate("document.activeElement.id") == "open-settings")
        p.ask("A question with a_very_long_word_" + "x" * 200)
        p.act("up")
        least, where = page.evaluate(CONTRAST)
        check(f"{scheme} {width}: contrast of 4.5 and more", least >= 4.5, least, where)
        check(f"{scheme} {width}: all controls have names", page.evaluate(UNNAMED) == [], page.evaluate(UNNAMED))
        check(f"{scheme} {width}: nothing is wider than the window", page.evaluate(
            "[document.documentElement, document.querySelector('#thread')].every(e => e.scrollWidth <= e.clientWidth)"))
        check("no motion where none is wanted", page.evaluate(
            "[...document.querySelectorAll('*')].every(e => getComputedStyle(e).animationName === 'none')"))
        p.shot(f"chat-{scheme}-{width}")
        page.goto(ADDRESS + "/#load")
        expect(page.locator(".slot").first).to_be_visible()
        check(f"{scheme} {width}: load fits", page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
        least, where = page.evaluate(CONTRAST)
        check(f"{scheme} {width}: contrast of the load page", least >= 4.5, least, where)
        p.shot(f"load-{scheme}-{width}")
        p.context.close()


def keyboard(browser):
    p = Page(browser, ADDRESS, width=800)
    page = p.page
    expect(page.locator("#model option").first).to_be_attached()
    p.ask("Hi")
    page.focus("a[data-view=chat]")
    order = []
    for _ in range(12):
        order.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.act || document.activeElement.dataset.view"))
        shown = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if shown == "none" and order[-1] != "message":
            check(f"focus on {order[-1]} is seen", False)
        page.keyboard.press("Tab")
    order = [name for name in order if name != "more"][:11]  # there when the answer was cut at its limit
    check("the order of the focus", order == ["chat", "load", "new-chat", "open-settings", "edit", "copy", "edit", "again", "copy",
                                              "up", "down"], order)
    page.focus("[data-act=down]")
    page.keyboard.press("Space")
    check("a rating by the keyboard keeps the focus", page.evaluate(
        "document.activeElement.dataset.act + document.activeElement.getAttribute('aria-pressed')") == "downtrue")
    p.context.close()


def with_keys(browser):
    p = Page(browser, KEYED)
    page = p.page
    expect(page.get_by_role("alert")).to_contain_text("wants an API key")
    p.shot("key")
    page.get_by_role("button", name="Enter a key").click()
    page.keyboard.type("wrong-key")
    page.keyboard.press("Tab")
    page.fill("#f-max_tokens", "8")
    expect(page.get_by_role("alert")).to_contain_text("doesn't know this API key")
    p.ask("Hi", "failed")
    check("a refused answer leads to the key", page.evaluate("document.activeElement.id") == "key")
    p.shot("key-wrong")
    page.fill("#key", "right-key")
    page.keyboard.press("Tab")
    expect(page.locator("#welcome-title")).to_have_text("Chat with tiny")
    p.ended()
    check("with the right one it goes on, and the failed try is gone", page.locator(".step").count() == 0)
    # A drain: what runs is finished, what comes is refused.
    page.fill("#f-max_tokens", "200")
    p.write("Go on")
    expect(page.locator("li.assistant").last).to_have_attribute("data-state", re.compile("streaming|done"))
    keyed.process.send_signal(signal.SIGTERM)
    p.ended()
    p.ask("More", "failed")
    expect(p.problem()).to_contain_text(re.compile("shutting down|can't be reached"))
    keyed.process.wait(60 * SLOW)
    p.problem().get_by_role("button", name="Try again").click()
    expect(p.problem()).to_contain_text("can't be reached")
    check("a server that has gone", p.problem().get_by_role("button", name="Try again").is_visible())
    p.shot("offline")
    p.context.close()


def by_name(browser):
    lazy = Server(f"tiny={tiny}", "--lazy")
    p = Page(browser, f"http://server.test:{lazy.port}/#load")
    expect(p.page.locator("#slot-summary")).to_contain_text("isn't in memory")
    check("watching opens no model", "hone_model_loaded{model=\"tiny\"} 0" in lazy.ask("/metrics")[1])
    p.page.click("a[data-view=chat]")
    p.ask("Hi", "failed")
    expect(p.problem()).to_contain_text(f"--cors-origin http://server.test:{lazy.port}")
    p.context.close()
    lazy.stop()


def browse():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[
            "--no-sandbox", "--host-resolver-rules=MAP server.test 127.0.0.1"])
        first = Page(browser, ADDRESS)
        for part in (chatting, versions, editing, stopping, wrong_settings, going_on, modules, adapters, hostile, problems,
                     keeping, load):
            part(first)
        first.context.close()
        access(browser)
        keyboard(browser)
        with_keys(browser)
        by_name(browser)
        browser.close()


try:
    browse()
except (AssertionError, Error) as error:
    check("the page does what is expected", False, *str(error).splitlines()[:12])
    keyed.process.kill()
away = sorted({url for url in seen if not url.startswith((ADDRESS, KEYED, "blob:" + ADDRESS, "http://server.test:"))})
check("no other address was asked", seen and not away, away)
check("no error in the page", not wrong, wrong)
server.stop()
finish()

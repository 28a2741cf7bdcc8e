"""A headless Chromium for tests, driven through a pair of pipes; it tells of every request and error."""

import base64
import json
import os
import select
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    # A proxy that is not there: what Chromium or a page asks of the world is refused on this machine.
    "--proxy-server=127.0.0.1:9",
    "--window-size=1280,900",
    "--remote-debugging-pipe",
)
SECONDS = 60


class Browser:
    """One page: `errors` are those of its console, `requests` the addresses that it or its frames ask for."""

    def __init__(self, commands: int, events: int):
        self.commands, self.events = commands, events
        self.buffer, self.number, self.session = b"", 0, None
        self.answers: dict[int, dict] = {}
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self("Page.enable")

    def __call__(self, method: str, **parameters) -> dict:
        """Send one command of the DevTools protocol and return its result."""
        self.number += 1
        number, message = self.number, {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while number not in self.answers:
            self._take()
        answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, page: Path) -> None:
        """Load a file and wait until its pictures are there and its network has been quiet for a while."""
        self("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("document.readyState == 'complete'")
        time.sleep(0.3)
        self.evaluate("1")  # takes in what was reported meanwhile

    def _listen(self) -> None:
        """Hear of errors and requests in the present session, and of frames with a process of their own."""
        for domain in ("Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)

    def evaluate(self, expression: str):
        """The value of a JavaScript expression; promises are waited for."""
        result = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def in_frame(self, expression: str):
        """The value of a JavaScript expression in the page's only frame, once that has loaded."""
        deadline = time.monotonic() + SECONDS
        while (result := self._evaluate_in_frame(expression)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError("no frame has loaded")
            time.sleep(0.05)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def _evaluate_in_frame(self, expression: str) -> dict | None:
        """The answer for the page's only frame, or None while that still loads."""
        frames = self("Page.getFrameTree")["frameTree"].get("childFrames", [])
        if not frames:
            return None
        loaded = "document.readyState == 'complete' && location.href != 'about:blank'"
        try:  # a frame that loads replaces its context, perhaps between two of these commands
            world = self("Page.createIsolatedWorld", frameId=frames[0]["frame"]["id"])
            place = {"contextId": world["executionContextId"], "returnByValue": True}
            if not self("Runtime.evaluate", expression=loaded, **place)["result"].get("value"):
                return None
            return self("Runtime.evaluate", expression=expression, **place)
        except RuntimeError as error:
            if "Cannot find context" not in str(error):
                raise
            return None

    def wait_for(self, condition: str) -> None:
        """Until a JavaScript condition holds."""
        deadline = time.monotonic() + SECONDS
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise TimeoutError(condition)
            time.sleep(0.05)

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        size = self("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        data = self("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def outgoing(self) -> list[str]:
        """The addresses asked for that are neither a file nor part of the page."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:", "about:"))]

    def _take(self) -> None:
        """Read one message, an answer or an event."""
        while b"\0" not in self.buffer:
            if not select.select([self.events], [], [], SECONDS)[0]:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self.events, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(message)
        if "id" in message:
            self.answers[message["id"]] = message
        else:
            self._note(message["method"], message["params"])

    def _note(self, method: str, facts: dict) -> None:
        if method == "Target.attachedToTarget":
            page, self.session = self.session, facts["sessionId"]
            self._listen()
            self("Runtime.runIfWaitingForDebugger")
            self.session = page
        elif method == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(facts["exceptionDetails"].get("exception", facts["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert"):
            self.errors.append(str([argument.get("value") for argument in facts["args"]]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.errors.append(facts["entry"]["text"])


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile, and end it again."""
    commands_out, commands = os.pipe()
    events, events_in = os.pipe()
    # Chromium reads commands from descriptor 3 and answers on 4.
    places = [(os.POSIX_SPAWN_DUP2, commands_out, 3), (os.POSIX_SPAWN_DUP2, events_in, 4)]
    places.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
    arguments = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}"]
    process = os.posix_spawn(CHROMIUM, arguments, os.environ, file_actions=places)
    os.close(commands_out)
    os.close(events_in)
    browser = Browser(commands, events)
    try:
        yield browser
    finally:
        browser.session = None
        browser("Browser.close")
        os.waitpid(process, 0)
        os.close(commands)
        os.close(events)


def open_category(browser, name: str) -> None:
    """Unfold a category of Snakemake's report, until its items can be clicked."""
    link = f"[...document.querySelectorAll('a')].find((a) => a.innerText.trim() == '{name}')"
    browser.wait_for(f"Boolean({link})")
    browser.evaluate(f"{link}.click()")
    browser.wait_for("document.querySelector('a[iconname=eye]') !== null")

"""Chromium without a screen, driven over a pipe: pages opened, looked at, pointed at and typed into."""
from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

PROGRAM = "chromium-headless-shell"
ANSWER_WITHIN_S = 60
ARGUMENTS = ("--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb",
             "--font-render-hinting=none", "--disable-background-networking", "--disable-extensions", "--disable-sync",
             "--host-resolver-rules=MAP * ~NOTFOUND")


class BrowserError(Exception):
    """What the browser said no to."""


def above_ten(descriptor: int) -> int:
    """The same under a number that stands in nobody's way; `descriptor` is closed."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return copy


class Browser:
    """One process; messages are JSON that ends in a zero byte, on its descriptors 3 (in) and 4 (out)."""

    def __init__(self, profile: str) -> None:
        # Root has no user namespace to sandbox itself in; what is opened here is this project's own page.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        ours_read, theirs_write = (above_ten(fd) for fd in os.pipe())
        theirs_read, ours_write = (above_ten(fd) for fd in os.pipe())
        command = ["bash", "-c", f'exec "$@" 3<&{theirs_read} 4>&{theirs_write}', PROGRAM, PROGRAM, *ARGUMENTS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         pass_fds=(theirs_read, theirs_write))
        os.close(theirs_read)
        os.close(theirs_write)
        self._read, self._write, self._rest, self._numbers = ours_read, ours_write, b"", itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of one command. Events that come meanwhile are kept in `events`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str, session: str) -> None:
        """Returns once such an event of the session has come."""
        while not any(e.get("method") == method and e.get("sessionId") == session for e in self.events):
            self.events.append(self._next())

    def close(self) -> None:
        with contextlib.suppress(BrowserError, OSError):
            self.call("Browser.close")
        os.close(self._read)
        os.close(self._write)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + ANSWER_WITHIN_S
        while b"\0" not in self._rest:
            if not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                raise BrowserError(f"no answer within {ANSWER_WITHIN_S} s")
            read = os.read(self._read, 1 << 20)
            if not read:
                raise BrowserError(f"{PROGRAM} has ended")
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Page:
    """A tab with a page in it."""

    def __init__(self, browser: Browser, path: str | os.PathLike[str], width: int, height: int = 900, dark: bool = False) -> None:
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        self.width = width
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.prefer("dark" if dark else "light")
        self._call("Page.navigate", url=pathlib.Path(path).absolute().as_uri())
        browser.wait_for("Page.loadEventFired", self._session)
        self.settle()

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def prefer(self, scheme: str, media: str = "") -> None:
        """`media`: "print" shows the page as it is printed."""
        self._call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])

    def settle(self) -> None:
        """Returns once what is to be drawn is drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited where it is a promise."""
        result = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise BrowserError(str(result["exceptionDetails"].get("exception", result["exceptionDetails"])))
        return result["result"].get("value")

    def move(self, x: float, y: float) -> None:
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.settle()

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def tap(self, x: float, y: float) -> None:
        self._call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self._call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.settle()

    def key(self, key: str) -> None:
        code = {"Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27}.get(key, ord(key[0]))
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **(text if kind == "keyDown" else {}))
        self.settle()

    def screenshot(self, path: pathlib.Path) -> None:
        """The whole page, as a PNG."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": self.width, "height": min(size["height"], 8000), "scale": 1}
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        return base64.b64decode(self._call("Page.printToPDF", printBackground=False)["data"])

    def complaints(self) -> list[str]:
        """What the page put on the console, threw or failed to load, and what it asked the network for."""
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            parameters = event.get("params", {})
            if event["method"] == "Runtime.consoleAPICalled":
                found.append(f"console: {parameters['args']}")
            elif event["method"] == "Runtime.exceptionThrown":
                found.append(f"exception: {parameters['exceptionDetails']}")
            elif event["method"] == "Log.entryAdded":
                found.append(f"log: {parameters['entry']['text']}")
            elif event["method"] == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith("file:"):
                found.append(f"request: {parameters['request']['url']}")
        return found

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ckptfs-browser-") as profile:
        started = Browser(profile)
        try:
            yield started
        finally:
            started.close()

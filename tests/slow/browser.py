"""Chromium without a head, spoken to over two pipes in its DevTools protocol: JSON messages that end in a zero byte."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 120.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page; what it logs and what it asks of the network is kept."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask for something and wait for the answer; what happens meanwhile is kept in `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            assert select.select([self._from], [], [], max(0.0, end - time.monotonic()))[0], "Chromium does not answer"
            piece = os.read(self._from, 1 << 20)
            assert piece, "Chromium is gone"
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, path: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Load a file at this width, and wait until its scripts have run."""
        narrow = width < 700
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": narrow}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.value(condition):
            assert time.monotonic() < end, f"it never came to be that {condition}"
            time.sleep(0.02)

    def type(self, text: str) -> None:
        """Into whatever has the focus, as a keyboard would."""
        self.call("Input.insertText", text=text)

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, breaches of the page's policy among them."""
        found = []
        for event in self.events:
            params = event["params"]
            match event["method"]:
                case "Runtime.exceptionThrown":
                    found.append(str(params["exceptionDetails"]))
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                    found.append(str(params["args"]))
                case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                    found.append(str(params["entry"]))
        return found

    def requests(self) -> list[str]:
        asked = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in asked]


@contextmanager
def browser(chromium: str, profile: Path) -> Iterator[Browser]:
    """A process of our own, ended when the block ends. It reads our messages on descriptor 3 and answers on 4."""
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    flags = ["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--disable-extensions", "--disable-background-networking", "--disable-component-update"]
    flags += [f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    shell = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$0" "$@"'
    process = subprocess.Popen(
        ["bash", "-c", shell, chromium, *flags],
        pass_fds=(theirs_in, theirs_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        os.close(ours_out)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_in)


# ---- looking at a report

NARROW, WIDE = 360, 1280

SEEN = """
(() => {
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 20 && box.height > 10 && getComputedStyle(element).visibility === "visible";
  };
  const figures = [...document.querySelectorAll("figure.chart")].map((figure) => {
    const drawings = [...figure.querySelectorAll("svg[role=img]")].filter(seen);
    const marks = drawings.flatMap((drawing) => [...drawing.querySelectorAll(".line, .thin, .stem, .m")]);
    return {id: figure.id, drawings: drawings.length, marks: marks.length, letters: Math.min(...drawings.map(
      (drawing) => 12 * drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width))};
  });
  const closed = (table) => table.closest("details:not([open])");
  const tables = [...document.querySelectorAll("table")].filter((table) => !closed(table));
  return {
    figures,
    tables: tables.map((table) => ({seen: seen(table), rows: table.querySelectorAll("tbody tr").length})),
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    outside: [...document.querySelectorAll("main > section, header > *, figure, .answer, .controls")]
      .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
      .map((element) => element.id || element.className || element.tagName),
  };
})()
"""


def opened(page: Browser, report: Path, width: int, dark: bool = False) -> Browser:
    page.open(report, width, dark=dark)
    page.until("document.getElementById('samples-list').dataset.found !== undefined")
    return page


def search(page: Browser, text: str) -> int:
    """How many examples are found, after the words were typed into the empty box."""
    box = "document.getElementById('search')"
    page.value(f"{box}.focus(), {box}.select()")
    page.value("document.execCommand('delete')")
    page.value("document.getElementById('samples-list').dataset.found = 'waiting'")
    if text:
        page.type(text)
    else:
        page.value(f"{box}.dispatchEvent(new Event('input'))")
    page.until("document.getElementById('samples-list').dataset.found !== 'waiting'")
    return int(page.value("document.getElementById('samples-list').dataset.found"))

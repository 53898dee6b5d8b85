"""Headless Chromium over its DevTools pipe: as much of a client as looking at a page takes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

_WAIT = 20.0
"""Longest wait for an answer, seconds."""


def chromium() -> str:
    """Its path; without it, the test is skipped here, and fails in continuous integration."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and os.environ.get("CI"):
        pytest.fail("chromium is not installed: apt-get install chromium")
    if found is None:
        pytest.skip("chromium is not installed")
    return found


class Browser:
    """One browser with one page, spoken to as https://chromedevtools.github.io/devtools-protocol says.

    Args:
        folder: For its profile.

    Attributes:
        said: What the page logged, and every exception it did not catch.
    """

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self._folder = folder
        self._number = 0
        self._received = b""

    def __enter__(self) -> Browser:
        their_in, self._out = os.pipe()
        self._in, their_out = os.pipe()
        command = [
            *("bash", "-c", f'exec "$@" 3<&{their_in} 4>&{their_out}', "bash"),
            *(chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={self._folder}"),
        ]
        self._process = subprocess.Popen(
            command,
            pass_fds=(their_in, their_out),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        os.set_blocking(self._in, False)
        try:
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
            self._session: str | None = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self.ask(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command to the page, and its result."""
        return self._ask(method, session=self._session, **parameters)

    def open(self, address: str) -> None:
        """Load a page, whole."""
        before = self.run("performance.timeOrigin")
        self.ask("Page.navigate", url=address)
        self.until(f"performance.timeOrigin !== {before} && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression in the page is true."""
        end = time.monotonic() + _WAIT
        while not self.run(f"!!({script})"):
            assert time.monotonic() < end, f"it did not come true: {script}; the page said {self.said}"
            time.sleep(0.02)

    def type(self, selector: str, text: str) -> None:
        """Replace what an input holds, by the keyboard."""
        self.run(f"(e => {{ e.focus(); e.select(); }})(document.querySelector({json.dumps(selector)}))")
        self.ask("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """Press a key on what has the focus."""
        for kind in ("rawKeyDown", "char", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "char" else {}
            if kind != "char" or text:
                self.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Look through a window of this size, by day or by night."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self) -> bytes:
        """The whole page, as PNG."""
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(taken["data"])

    def _ask(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        os.write(
            self._out, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0"
        )
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._listen(answer)

    def _listen(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.said.append(event["params"]["exceptionDetails"]["text"])
            case "Runtime.consoleAPICalled":
                self.said.append(str(event["params"]["args"]))
            case "Log.entryAdded":
                self.said.append(
                    f"{event['params']['entry']['text']} {event['params']['entry'].get('url', '')}"
                )

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + _WAIT
        while b"\0" not in self._received:
            assert time.monotonic() < end, "chromium does not answer"
            assert self._process.poll() is None, "chromium has ended"
            try:
                self._received += os.read(self._in, 1 << 20)
            except BlockingIOError:
                time.sleep(0.005)
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

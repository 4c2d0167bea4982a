"""Pages in a headless Chromium, steered over its debugging pipe: what it requests, complains of and draws."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# WebGL is drawn in software, as there need not be a graphics card.
OPTIONS = (
    "--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--hide-scrollbars", "--disable-background-networking", "--disable-component-update", "--no-first-run",
    "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads from its third and writes to its fourth file, whatever numbers the pipes have here.
START = """
import fcntl, os, sys
source, sink = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(source, 3)
os.dup2(sink, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE_S = 600  # for a browser that has stopped answering, not for a slow one


class Browser:
    """One page in a browser of its own."""

    def __init__(self, profile, *options):
        binary = next(filter(None, map(shutil.which, NAMES)), None)
        if binary is None:
            pytest.skip(f"no browser here: none of {', '.join(NAMES)}")
        (their_input, self.input), (self.output, their_output) = os.pipe(), os.pipe()
        command = [binary, *OPTIONS, *options, f"--user-data-dir={profile}", "about:blank"]
        starter = [sys.executable, "-c", START, str(their_input), str(their_output), *command]
        silent = subprocess.DEVNULL
        self.process = subprocess.Popen(starter, pass_fds=(their_input, their_output), stdout=silent, stderr=silent)
        os.close(their_input)
        os.close(their_output)
        self.session, self.number, self.unread, self.events = None, 0, b"", []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.input)
        os.close(self.output)

    def call(self, method, **params):
        """What a method of the DevTools protocol answers; what happens meanwhile is kept in `events`."""
        self.number += 1
        session = {} if self.session is None else {"sessionId": self.session}
        os.write(
            self.input, json.dumps({"id": self.number, "method": method, "params": params, **session}).encode() + b"\0"
        )
        while (message := self._message()).get("id") != self.number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def _message(self):
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.output], [], [], PATIENCE_S)
            assert ready, "the browser does not answer"
            more = os.read(self.output, 1 << 20)
            assert more, "the browser has ended"
            self.unread += more
        message, _, self.unread = self.unread.partition(b"\0")
        return json.loads(message)

    def open(self, page, width=1280, height=800, scheme="light", motion="reduce"):
        """Show a file and wait for its viewer; says what state that is in."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        self.call("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in wishes.items()])
        self.call("Page.navigate", url=page.as_uri())
        return self.run(
            "new Promise((done) => { const look = () => { const found = document.querySelector('[data-state]');"
            " if (found) done(found.dataset.state); else setTimeout(look, 50); }; look(); })"
        )

    def run(self, script):
        """What a script gives, once its promise is kept."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key, code=0):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def pixels(self):
        """The picture (rows, columns, 3), 0..1, of what is in view."""
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(matplotlib.image.imread(io.BytesIO(png)))[..., :3]

    def requests(self):
        """The addresses of all requests, but those for what is inside of the page."""
        urls = [event["params"]["request"]["url"] for event in self._of("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def complaints(self):
        """What stands on the console: messages of the page, errors, and what its policy has refused."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event["params"] for kind in kinds for event in self._of(kind)]

    def _of(self, kind):
        return [event for event in self.events if event.get("method") == kind]

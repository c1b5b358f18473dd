"""`lrpc demo` in a browser: an image in, a detection clicked, its explanations out; and nobody
else is asked for anything."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
    pytest.mark.filterwarnings("default"),  # of gradio and playwright
]

#: Notes every address that the server's process connects to or looks up.
WATCH = """
import os, socket
def noted(name):
    own = getattr(socket, name)
    def call(host, *more, **options):
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{host}\\n")
        return own(host, *more, **options)
    setattr(socket, name, call)
noted("getaddrinfo")
class Watched(socket.socket):
    def connect(self, address):
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{address[0] if isinstance(address, tuple) else address}\\n")
        return super().connect(address)
socket.socket = Watched
"""


@pytest.fixture
def served(programs: Programs, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The page's address, and the file of what its server connected to."""
    pytest.importorskip("gradio")
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    (asked := tmp_path / "asked.txt").write_text("")
    paths = [str(tmp_path), *filter(None, sys.path)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "ASKED": str(asked),
        "GRADIO_TEMP_DIR": str(tmp_path / "gradio"),
    }
    directory = programs.directory(DIGITS, COMPOSITE="[maskdino, epsilon]")
    call = [sys.executable, "-m", "lrpc", "demo", str(directory)]
    run = subprocess.Popen(
        [*call, "--device", "cpu", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    try:
        yield run.stdout.readline().split()[0], asked
    finally:
        run.send_signal(signal.SIGINT)
        with run.stdout:
            assert run.wait(60) == 130


def test_a_detection_is_explained_by_a_click(served: tuple[str, Path], tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    address, asked = served
    hosts: set[str] = set()
    wrong: list[str] = []
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        page.on("request", lambda one: hosts.add(one.url.split("/")[2]))
        page.on("console", lambda one: wrong.append(one.text) if one.type == "error" else None)
        page.goto(address)
        page.set_input_files("input[type=file]", str(EXAMPLE / "scenes" / "02.png"))
        said = page.locator("#said")
        sync_api.expect(said).to_have_text("class_logit, query 0, class 5 = 2.428", timeout=60_000)
        sync_api.expect(page.locator("#maps img")).to_have_count(2)
        _look(page, tmp_path / "first.png")
        _click(page, 0.745, 0.55)  # on the other digit
        sync_api.expect(said).to_contain_text("class 8 =", timeout=60_000)
        assert page.locator("#list input").nth(1).is_checked()
        _choose(page, "class", "3")
        sync_api.expect(said).to_contain_text("class 3 =", timeout=60_000)
        _choose(page, "target", "box: cx")
        sync_api.expect(said).to_contain_text("box, query", timeout=60_000)
        page.get_by_label("map", exact=True).click()
        _look(page, tmp_path / "last.png")
        browser.close()
    assert {host for host in hosts if host} == {address.split("/")[2]}
    assert not wrong
    assert set(asked.read_text().split()) <= {"127.0.0.1", "localhost"}


def _click(page: Any, x: float, y: float) -> None:
    """Click on the picture of detections, at shares of its width and height."""
    box = page.locator("#detections img").bounding_box()
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def _choose(page: Any, name: str, value: str) -> None:
    page.click(f"#{name} input")
    page.get_by_role("option", name=value, exact=True).click()


def _look(page: Any, path: Path) -> None:
    """Keep a picture of the page, beside the test's other files."""
    page.wait_for_timeout(1500)  # for pictures to be drawn
    page.screenshot(path=str(path), full_page=True)

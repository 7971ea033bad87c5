# SPDX-License-Identifier: Apache-2.0
"""A browser that opens the pages of the tests."""

import shutil
from collections.abc import Callable
from typing import NamedTuple

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


class Visit(NamedTuple):
    """What a browser made of a page."""

    drawn: float  # share of the canvas that is not background
    complaints: list[str]


@pytest.fixture
def visit(tmp_path) -> Callable[[str], Visit]:
    """Open a page in headless Chromium, offline, until its head is drawn."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        pytest.skip("no Chromium (apt-get install chromium)")

    def look(html: str) -> Visit:
        path = tmp_path / "report.html"
        path.write_text(html)
        options = ["--no-sandbox", "--use-angle=swiftshader"]
        options += ["--enable-unsafe-swiftshader"]
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=options)
            tab = browser.new_page(offline=True)
            complaints: list[str] = []
            tab.on("console", lambda said: complaints.append(said.text))
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.goto(path.as_uri())
            canvas = tab.locator("canvas[data-drawn]")
            drawn = canvas.get_attribute("data-drawn", timeout=100_000)
            browser.close()
        return Visit(float(drawn), complaints)

    return look

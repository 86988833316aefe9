"""Chromium without a window. Debian: `apt-get install chromium`; elsewhere `python -m playwright install chromium`."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    "the dashboard is tested in Chromium, and there is none: `apt-get install chromium`, or `python -m playwright "
    'install chromium`; `pytest -m "not browser"` leaves these tests out'
)
WAIT = 60_000
"""Milliseconds in which what has to happen must happen: the machine may be busy."""


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Started anew."""
    async with async_playwright() as playwright:
        found = _found(Path(playwright.chromium.executable_path))
        chromium = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            await chromium.close()


@asynccontextmanager
async def opened(url: str, scheme: str = "light", allowed: tuple[str, ...] = ()) -> AsyncIterator[Page]:
    """The dashboard of a gateway.

    Fails if the page has told of an error that has none of `allowed` in its text, or has asked another host for anything.
    """
    problems: list[str] = []
    asked: list[str] = []
    async with browser() as chromium:
        page = await chromium.new_page(
            viewport={"width": 1440, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page.set_default_timeout(WAIT)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{url}/dashboard")
        yield page
    unexpected = [text for text in problems if not any(each in text for each in allowed)]
    assert not unexpected, f"the page told of errors: {unexpected}"
    assert {urlsplit(each).netloc for each in asked} == {urlsplit(url).netloc}


def _found(own: Path) -> str:
    """Playwright's own Chromium, or the system's."""
    found = str(own) if own.exists() else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail(MISSING, pytrace=False)
    return found

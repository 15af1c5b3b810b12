"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PATIENCE_MS = 60_000
_QUIET = ("background-networking", "component-update", "sync", "quic", "gpu")


@contextmanager
def browsing(width: int = 1280, height: int = 800) -> Iterator[Any]:
    """A page of a browser of its own; what its scripts raise fails the test that ends it."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    arguments = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{one}" for one in _QUIET)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        page = browser.new_page(viewport={"width": width, "height": height}, accept_downloads=True)
        page.set_default_timeout(PATIENCE_MS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        browser.close()
    assert not errors, errors

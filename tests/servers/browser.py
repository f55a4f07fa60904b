"""Debian's Chromium, for the pages: what people see, what the console says, who cannot use it.

    async with Browser() as browser:
        page = await browser.opens(url, width=390)
        assert await page.problems() == []

`problems` are findings of axe-core, what the console says, and what is wider than the page.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser as Chromium
from playwright.async_api import Page as ChromiumPage
from playwright.async_api import Playwright, async_playwright

from tests.servers.rare import needs

CHROMIUM: Final = "/usr/bin/chromium"
browser_needed: Final = needs(CHROMIUM)

PHONE: Final = 390
DESKTOP: Final = 1280
"""Widths, in CSS pixels."""

SHOTS: Final = os.environ.get("XMPPRELAY_SCREENSHOTS")
"""A folder that pictures of all pages go to, for whoever wants to look at them."""

_SERIOUS: Final = frozenset({"serious", "critical"})


@dataclass(slots=True)
class Page:
    """A page that is open."""

    inner: ChromiumPage
    said: list[str] = field(default_factory=list)  # what its console and its requests complain of

    async def text(self) -> str:
        """What is to be read on it."""
        return await self.inner.inner_text("body")

    async def problems(self) -> list[str]:
        """What is wrong with it: complaints, too wide for its window, serious findings of axe."""
        found = list(self.said)
        if await self.inner.evaluate(
            "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        ):
            found.append("it is wider than its window")
        results = await Axe().run(self.inner)
        for each in results.response["violations"]:
            if each["impact"] in _SERIOUS:
                where = [node["html"][:120] for node in each["nodes"][:3]]
                found.append(f"{each['id']}: {each['help']}: {where}")
        return found

    async def picture(self, name: str) -> None:
        """Keep a picture of all of it, if somebody wants to look at it."""
        if SHOTS:
            await self.inner.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


class Browser:
    """A browser without a window. As a context manager it starts and ends."""

    def __init__(self) -> None:
        self._playwright: Playwright | None = None
        self._chromium: Chromium | None = None

    async def __aenter__(self) -> Self:
        self._playwright = await async_playwright().start()
        self._chromium = await self._playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._chromium is not None:
            await self._chromium.close()
        if self._playwright is not None:
            await self._playwright.stop()

    async def opens(
        self, url: str, *, width: int = DESKTOP, dark: bool = False, scripts: bool = True
    ) -> Page:
        """Open an address in a window of its own.

        Without `scripts` the page has none; axe is one, so `problems` needs them.
        """
        assert self._chromium is not None
        options: dict[str, Any] = {"color_scheme": "dark" if dark else "light"}
        inner = await self._chromium.new_page(
            viewport={"width": width, "height": 800},
            java_script_enabled=scripts,
            bypass_csp=False,
            **options,
        )
        page = Page(inner)
        inner.on("console", lambda told: page.said.append(f"console: {told.text}"))
        inner.on("pageerror", lambda error: page.said.append(f"script: {error}"))
        inner.on("requestfailed", lambda asked: page.said.append(f"failed: {asked.url}"))
        await inner.goto(url)
        return page

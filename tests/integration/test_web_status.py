"""The status page, the graph and what programs have of them, through an outage of the primary."""

import base64
import csv
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lxml import etree, html

from tests.integration.test_inserting import says, site, until
from tests.integration.web_world import Site, wired_pages
from tests.integration.wire import HOME, RELAY, Wire, wired
from tests.integration.world import Clock
from tests.primaries.profiles import MASTODON
from tests.primaries.server import Server
from tests.primaries.world import World
from tests.servers.browser import DESKTOP, PHONE, Browser, Page, browser_needed
from xmpprelay.config import Primary, Secret
from xmpprelay.core.activity import MINUTE, Tally
from xmpprelay.store.activity import count, thin
from xmpprelay.store.schema import EPOCH_START
from xmpprelay.web.status import MADE_EVERY_S

ALICE, BOB = "alice@example.test", "bob@example.test"
SVG = "{http://www.w3.org/2000/svg}"


@dataclass
class Scene:
    """A relay with pages, and its primary, which a test lets go away."""

    wire: Wire
    site: Site
    clock: Clock
    primary: Server

    async def page(self, path: str = "/status") -> html.HtmlElement:
        answer = await self.site.get(path)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        return html.fromstring(answer.body)

    async def words(self, path: str = "/status") -> str:
        [main] = (await self.page(path)).iter("main")
        return " ".join(main.text_content().split())

    async def json(self) -> dict[str, Any]:
        answer = await self.site.get("/status.json")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        found: dict[str, Any] = json.loads(answer.body)
        return found

    async def numbers(self, span: str = "24h") -> list[dict[str, str]]:
        answer = await self.site.get(f"/status.csv?span={span}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))

    def passes(self, seconds: float) -> None:
        """So much time passes, and the trickle looks what it has to do by now."""
        self.clock.passes(seconds=seconds)
        self.wire.service.inserting.places[""].wake.set()

    async def becomes(self, *, away: bool) -> None:
        """Return when the relay knows how the primary is, and has noted it."""
        inserting = self.wire.service.inserting
        while any(each.since for each in inserting.standby.situations()) is not away:
            before = self._tried()
            self.passes(seconds=301)  # longer than it ever waits before it tries again
            await until(partial(self._tried_since, before))
        await self.wire.service.db.write(thin, EPOCH_START)  # a fence behind what it writes

    def _tried(self) -> tuple[object, int]:
        place = self.wire.service.inserting.places[""]
        return place.site.health, self.primary.world.requests.total()

    def _tried_since(self, before: tuple[object, int]) -> bool:
        return self._tried() != before


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Alice and bob are here, and what they post is inserted into a scripted primary."""
    clock = Clock()
    async with Server(World(MASTODON, time.time)) as primary:
        token = primary.world.join("relay", 0).token
        config = Primary(driver="mastodon", url=primary.site, token=Secret(token))
        async with wired_pages(tmp_path, clock, primary=config) as (wire, pages):
            await says(wire, ALICE, "join alice")
            await says(wire, BOB, "follow alice")
            wire.feeds(f"<presence from='{BOB}' to='{HOME}' type='subscribed'/>")
            wire.feeds(f"<presence from='{BOB}/x' to='{HOME}'/>")
            await wire.service.inserting.open()
            wire.service.inserting.start()
            await until(lambda: not site(wire).health.away)
            await wire.quiet()
            yield Scene(wire, pages, clock, primary)


async def test_an_outage_is_seen_from_its_begin_to_its_end(scene: Scene) -> None:
    assert "All is well: posts go out at once" in await scene.words()
    before = await scene.json()
    assert not before.keys() & {"planned", "beginning", "message"}, "nothing of XEP-0455"
    assert before["primaries"][0]["state"] == "online"

    await scene.primary.refuse()
    for text in ("one", "two", "three"):
        await says(scene.wire, ALICE, text)
    await scene.becomes(away=True)
    scene.clock.passes(seconds=MADE_EVERY_S)
    words = await scene.words()
    assert "The primary is on standby since" in words
    assert "nothing answered at its address" in words
    assert "3 posts, the oldest since" in words
    during = await scene.json()
    assert during["planned"] is False
    assert during["message"]["default"] == during["message"]["en"]
    assert during["beginning"] == during["primaries"][0]["since"] == during["outages"][0]["began"]
    assert during["outages"][0]["ended"] is None
    [*_, last] = await scene.numbers()
    assert int(last["standby_s"]) > 0
    assert last["backlog"] == "3"
    assert await shapes(scene, "g-away") == 1

    await scene.primary.listen()
    await scene.becomes(away=False)
    await until(lambda: site(scene.wire).total == 0)
    scene.clock.passes(seconds=MADE_EVERY_S)
    words = await scene.words()
    assert "All is well" in words
    assert "3 posts waited at its end, and were carried over." in words
    after = await scene.json()
    assert "beginning" not in after
    assert after["outages"][0]["carried"] == 3
    assert after["outages"][0]["ended"] == after["primaries"][0]["since"]
    assert await shapes(scene, "g-away") == 1, "the graph remembers"


async def shapes(scene: Scene, kind: str) -> int:
    """How many shapes of a sort the graph of the page has."""
    page = await scene.page()
    return len(page.xpath(f"//*[local-name()='path'][contains(@class, '{kind}')]"))


async def test_the_numbers_are_those_of_the_relay(scene: Scene) -> None:
    before = await scene.numbers()
    now = scene.clock.now().replace(second=0, microsecond=0)
    old = Tally(now - 120 * MINUTE, posts=7, bot_posts=2, deliveries=12_345, backlog=4)
    await scene.wire.service.db.write(count, old)
    await says(scene.wire, ALICE, "one")
    scene.clock.passes(seconds=MADE_EVERY_S)
    rows = await scene.numbers()
    assert len(rows) == 145
    assert total(rows, "posts") - total(before, "posts") == 7 + 1
    assert total(rows, "bot_posts") - total(before, "bot_posts") == 2
    assert total(rows, "people") >= 2
    assert max(int(row["backlog"]) for row in rows) == 4
    for span, points in (("7d", 169), ("90d", 181)):
        found = await scene.numbers(span)
        assert len(found) == points
        assert total(found, "deliveries") >= 12_345
    page = await scene.page()
    [table] = page.iter("table")
    cells = [[cell.text_content() for cell in row] for row in table.iter("tr")]
    assert len(cells) == 1 + len(rows)
    assert cells[1][1:3] == [rows[-1]["posts"], rows[-1]["bot_posts"]], "the newest first"
    assert any(cell[1:4] == ["7", "2", "12345"] for cell in cells)


def total(rows: list[dict[str, str]], name: str) -> int:
    return sum(int(row[name]) for row in rows)


async def test_the_picture_stands_by_itself(scene: Scene) -> None:
    for span in ("24h", "7d", "90d"):
        answer = await scene.site.get(f"/status.svg?span={span}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/svg+xml")
        assert len(answer.body) < 60_000
        picture = etree.fromstring(answer.body)
        assert picture.tag == f"{SVG}svg"
        assert picture.get("role") == "img"
        style = picture.findtext(f"{SVG}style") or ""
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        # It may have that style, and nothing else.
        policy = answer.headers["Content-Security-Policy"]
        assert f"style-src 'sha256-{digest}';" in policy
        assert "default-src 'none'" in policy
    page = await scene.page("/status?span=90d")
    assert not page.xpath("//style | //script | //*[@style] | //*[@onclick]")
    assert (await scene.site.get("/graph.css")).headers["Content-Type"].startswith("text/css")
    current = page.xpath("//nav[@class='spans']/a[@aria-current]")
    assert [each.text for each in current] == ["90d"]


@pytest.mark.parametrize("path", ["/status", "/status.csv", "/status.svg"])
async def test_a_span_that_there_is_not_is_refused_with_those_that_there_are(
    scene: Scene, path: str
) -> None:
    for span in ("x", "", "24H", "1h", "%3Cscript%3E"):
        answer = await scene.site.get(f"{path}?span={span}")
        assert answer.status == 400
        assert "24h, 7d or 90d" in answer.text
        assert "<script>" not in answer.text


async def test_what_many_ask_for_is_made_once(scene: Scene) -> None:
    first = await scene.site.get("/status.csv")
    await says(scene.wire, ALICE, "something new")
    again = await scene.site.get("/status.csv")
    assert again.body == first.body
    tag = {"If-None-Match": first.headers["ETag"]}
    assert (await scene.site.get("/status.csv", tag)).status == 304
    scene.clock.passes(seconds=MADE_EVERY_S)
    fresh = await scene.site.get("/status.csv", tag)
    assert fresh.status == 200
    assert fresh.body != first.body


async def test_the_relays_own_health_is_told(scene: Scene) -> None:
    found = (await scene.json())["relay"]
    assert (found["server"], found["journal"], found["load"]) == ("connected", "writable", "normal")
    scene.wire.close()
    await scene.wire.lost()
    scene.clock.passes(seconds=MADE_EVERY_S)
    assert (await scene.json())["relay"]["server"] == "away"
    assert "not connected to its XMPP server" in await scene.words()


async def test_where_programs_read_it_is_announced(scene: Scene, tmp_path: Path) -> None:
    """XEP-0455 §2.1, by the domain and by nobody else."""
    assert await addresses_told(scene.wire, RELAY) == [f"{scene.site.base_url}/status.json"]
    assert await addresses_told(scene.wire, HOME) == []
    (tmp_path / "other").mkdir()
    async with wired(tmp_path / "other") as without_pages:
        assert await addresses_told(without_pages, RELAY) == []


async def addresses_told(wire: Wire, to: str) -> list[str]:
    wire.taken()
    info = "http://jabber.org/protocol/disco#info"
    wire.feeds(f"<iq from='{BOB}/x' to='{to}' id='d' type='get'><query xmlns='{info}'/></iq>")
    await wire.quiet()
    [answer] = [each for each in wire.taken() if each.kind == "iq" and each.id == "d"]
    found = []
    for form in answer.xml.iter("{jabber:x:data}x"):
        fields = {
            field.get("var"): [value.text or "" for value in field.iter("{jabber:x:data}value")]
            for field in form.iter("{jabber:x:data}field")
        }
        if fields["FORM_TYPE"] == ["urn:xmpp:sos:0"]:
            found += fields["external-status-addresses"]
    return found


async def test_a_relay_without_a_primary_says_so(tmp_path: Path) -> None:
    async with wired_pages(tmp_path) as (wire, pages):
        scene = Scene(wire, pages, Clock(), Server(World(MASTODON, time.time)))
        words = await scene.words()
        assert "All is well: posts go out at once." in words
        assert "There is none: posts stay here." in words
        assert "None that anybody remembers." in words
        assert (await scene.json())["primaries"] == []


# --- in a browser --------------------------------------------------------------------------------


@browser_needed
async def test_it_is_well_in_a_real_browser(scene: Scene) -> None:
    now = scene.clock.now().replace(second=0, microsecond=0)
    for minute in range(40, 400, 10):
        row = Tally(now - minute * MINUTE, posts=minute, bot_posts=minute // 3, backlog=9)
        await scene.wire.service.db.write(count, row)
    await scene.primary.refuse()
    for text in ("one", "two", "three"):
        await says(scene.wire, ALICE, text)
    await scene.becomes(away=True)
    address = f"{scene.site.base_url}/status"
    async with Browser() as browser:
        for width, dark in ((PHONE, False), (DESKTOP, True)):
            page = await browser.opens(address, width=width, dark=dark)
            await page.inner.click("summary")
            assert await page.problems() == [], f"{width} wide, {'dark' if dark else 'light'}"
            await page.picture(f"status-{width}-{'dark' if dark else 'light'}")
            # A colour that the style sheet gives, and not the black of what has none.
            blue = "rgb(86, 180, 233)" if dark else "rgb(0, 114, 178)"
            assert await colour(page, ".g-people") == blue
            await page.inner.close()
        picture = await browser.opens(f"{address}.svg?span=7d", width=PHONE)
        assert picture.said == [], "its own style is allowed"
        assert await colour(picture, ".g-people") == "rgb(0, 114, 178)"
        plain = await browser.opens(f"{address}?span=90d", scripts=False)
        assert "on standby" in await plain.text()


async def colour(page: Page, of: str) -> str:
    found: str = await page.inner.eval_on_selector(of, "each => getComputedStyle(each).fill")
    return found

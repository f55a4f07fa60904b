"""The pages for people: what is on them, and what is not; in a real browser as well."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from lxml import html
from PIL import Image

from tests.integration.web_world import Site, wired_pages
from tests.integration.wire import RELAY, Wire
from tests.servers.browser import DESKTOP, PHONE, Browser, browser_needed
from xmpprelay.config import Contact, Registration
from xmpprelay.core.model import Person
from xmpprelay.core.pacing import Rate
from xmpprelay.core.text import short_id

ANN, BOB, PIA = (f"{name}@example.test" for name in ("ann", "bob", "pia"))


@dataclass(slots=True)
class Reader:
    """A relay with pages, and somebody who reads them."""

    wire: Wire
    site: Site

    @property
    def url(self) -> str:
        return self.site.base_url

    async def says(self, *lines: tuple[str, str]) -> None:
        for who, line in lines:
            self.wire.says(who, line)
            await self.wire.quiet()

    async def gets(self, path: str, status: int = 200, **headers: str) -> str:
        """What is there, or where one is led to."""
        answer = await self.site.get(path, headers)
        assert answer.status == status, f"{path}: {answer.status} {answer.text[:300]}"
        return answer.headers.get("Location", "") if 300 < status < 400 else answer.text

    async def reads(self, path: str) -> html.HtmlElement:
        return html.fromstring((await self.gets(path)).encode())


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    """Ann, Bob and Pia have joined; Pia is protected."""
    contact = Contact(admin=("mailto:op@example.test", "xmpp:op@example.test"))
    async with wired_pages(tmp_path, contact=contact) as (wire, site):
        reader = Reader(wire, site)
        await reader.says((ANN, "join ann"), (BOB, "join bob"), (PIA, "join pia"))
        await reader.says((PIA, "protect on"))
        yield reader


def texts(page: html.HtmlElement) -> list[str]:
    return [each.text_content() for each in page.cssselect("article .text")]


async def test_the_front_page_says_how_to_join_and_who_posts(reader: Reader) -> None:
    assert "posted lately" not in await reader.gets("/")
    await reader.says((BOB, "a"), (PIA, "b"), (ANN, "c"), (BOB, "d"), (ANN, "del #3"), (ANN, "e"))
    page = await reader.reads("/")
    words = page.text_content()
    assert f"home@{RELAY}" in words
    assert "join yourname" in words
    [link] = {a.get("href") for a in page.cssselect("main a[href^='xmpp:']")}
    assert link == f"xmpp:home@{RELAY}?message;body=join%20yourname"
    [code] = page.cssselect("figure svg")
    assert code.get("aria-label") == link
    assert [a.get("href") for a in page.cssselect(".people a")] == [
        f"{reader.url}/@ann", f"{reader.url}/@bob"
    ]  # fmt: skip
    assert "op@example.test (mail)" in words
    assert "op@example.test (Jabber)" in words


async def test_an_author_has_his_posts_the_newest_first_and_all_by_pages(reader: Reader) -> None:
    await reader.says(*((ANN, f"post {n}") for n in range(45)))
    found, path = [], "/@ann"
    while path:
        page = await reader.reads(path)
        found += texts(page)
        older = page.cssselect("nav a[rel=next]")
        path = older[0].get("href").removeprefix(reader.url) if older else ""
    assert found == [f"post {n}" for n in reversed(range(45))]
    await reader.gets("/@ann?before=!", 400)
    assert texts(await reader.reads("/@ann?before=1")) == []


async def test_an_author_is_shown_with_what_he_shows_of_himself(reader: Reader) -> None:
    await reader.says((ANN, 'profile name "Ann A."'), (ANN, 'profile about "Tea with @bob #tea"'))
    await reader.says((ANN, "profile url https://example.org/~ann"))
    page = await reader.reads("/@ann")
    words = page.cssselect(".profile")[0].text_content()
    assert "Ann A." in words
    assert f"ann@{RELAY}" in words
    hrefs = {a.get("href") for a in page.cssselect(".profile a")}
    assert hrefs == {
        f"{reader.url}/@bob", f"{reader.url}/tag/tea.atom", "https://example.org/~ann",
        f"xmpp:ann@{RELAY}?subscribe", f"{reader.url}/@ann.atom", f"{reader.url}/@ann.rss",
        f"{reader.url}/@ann/with-replies.atom",
    }  # fmt: skip
    assert ANN not in html.tostring(page, encoding="unicode"), "where he writes from is his own"
    await reader.gets("/@ann/picture.png", 404)
    ann = reader.wire.service.graph.by_handle("ann")
    assert ann is not None
    await shows(reader, ann, "red")
    [source] = {i.get("src") for i in (await reader.reads("/@ann")).cssselect(".profile img")}
    answer = await reader.site.get(source)
    assert answer.headers["Content-Type"] == "image/png"
    assert Image.open(BytesIO(answer.body)).size == (32, 32)


async def test_a_picture_is_kept_by_who_has_it_and_is_nobodys_when_it_is_hidden(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = reader.wire.service.graph.by_handle("ann")
    assert ann is not None
    profiles, read = reader.wire.service.profiles, 0
    picture = profiles.picture

    async def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal read
        read += 1
        return await picture(*arguments, **more)

    profiles.picture = counted  # type: ignore[method-assign]
    await shows(reader, ann, "red")
    answer = await reader.site.get("/@ann/picture.png")
    assert answer.headers["Cache-Control"] == "public, max-age=86400, s-maxage=60"
    tag = {"If-None-Match": answer.headers["ETag"]}
    await reader.gets("/@ann/picture.png", 304, **tag)
    assert read == 1, "who has it costs no reading"
    nothing_left = Rate(per_second=1e-9, burst=0.0)
    monkeypatch.setattr("xmpprelay.profiles.SENT", nothing_left)
    again = await reader.site.get("/@ann/picture.png")
    assert again.body == answer.body, "it does not go out by the stream"
    await shows(reader, ann, "blue")
    assert (await reader.site.get("/@ann/picture.png", tag)).body != answer.body
    await reader.says((ANN, "feed private"))
    await reader.gets("/@ann/picture.png", 404, **tag)


async def shows(reader: Reader, person: Person, colour: str) -> None:
    """Let somebody show a picture."""
    drawn, profiles = BytesIO(), reader.wire.service.profiles
    Image.new("RGB", (32, 32), colour).save(drawn, "PNG")
    await profiles.set(person, {}, (await profiles.decoded(person, drawn.getvalue()),))


async def test_a_post_stands_in_its_thread(reader: Reader) -> None:
    await reader.says((ANN, "tea?"), (BOB, "re #1 with milk"), (ANN, "re #2 coming"))
    await reader.says((PIA, "re #2 me too"))
    page = await reader.reads("/@bob/2")
    assert texts(page) == ["tea?", "@ann with milk", "@bob coming"]
    assert page.cssselect("article.asked .text")[0].text_content() == "@ann with milk"
    hrefs = {a.get("href") for a in page.cssselect("main a")}
    assert f"xmpp:home@{RELAY}?message;body=re%20%232%20" in hrefs
    assert f"{reader.url}/@ann/1" in hrefs
    await reader.says((BOB, "del #2"))
    await reader.gets("/@bob/2", 404)
    assert texts(await reader.reads("/@ann/3")) == ["@bob coming"]


async def test_boosts_are_shown_with_who_boosts_and_lead_to_the_post(reader: Reader) -> None:
    await reader.says((ANN, "tea?"), (BOB, "boost #1"))
    page = await reader.reads("/@bob")
    assert texts(page) == ["tea?"]
    assert page.cssselect(".post .why")[0].text_content().split() == ["@bob", "boosts"]
    assert page.cssselect(".when a")[0].get("href") == f"{reader.url}/@ann/1"
    assert await reader.gets("/@bob/2", 308) == f"{reader.url}/@ann/1"


async def test_an_address_that_is_nearly_right_leads_to_the_right_one(reader: Reader) -> None:
    await reader.says((ANN, "tea?"), (BOB, "hello"))
    assert await reader.gets("/@ANN", 308) == f"{reader.url}/@ann"
    assert await reader.gets("/@bob/1", 308) == f"{reader.url}/@ann/1"
    assert await reader.gets("/@ann/L", 308) == f"{reader.url}/@ann/1"
    await reader.says((ANN, ":join anna"))
    assert await reader.gets("/@ann", 308) == f"{reader.url}/@anna"
    answer = await reader.site.get("/@ann")
    assert answer.headers["Cache-Control"] == "no-store", "somebody else may be Ann one day"


async def test_whoever_is_not_on_the_web_has_the_page_of_nobody(reader: Reader) -> None:
    await reader.says((PIA, "secret"), (BOB, "follow ann"), (ANN, "d bob letter"), (ANN, "x"))
    nobody = await reader.gets("/@zzz", 404)
    for path in ("/@pia", "/@pia/1", "/@ann/2", "/@ann/99", "/@zzz/1", "/@home", "/@status"):
        assert await reader.gets(path, 404) == nobody, path
    assert texts(await reader.reads("/@ann")) == ["x"]
    front = await reader.gets("/")
    assert "pia" not in front
    assert "@pia" not in json.dumps(texts(await reader.reads("/@ann")))


async def test_who_takes_himself_off_the_web_is_on_nobodys_page(reader: Reader) -> None:
    await reader.says((ANN, "tea?"), (BOB, "boost #1"), (BOB, "milk?"), (ANN, "re #3 no milk"))
    assert texts(await reader.reads("/@bob")) == ["milk?", "tea?"]
    assert texts(await reader.reads("/@bob/3")) == ["milk?", "@bob no milk"]
    assert texts(await reader.reads("/@ann/4")) == ["milk?", "@bob no milk"]
    await reader.says((ANN, "feed private"))
    assert texts(await reader.reads("/@bob")) == ["milk?"]
    assert texts(await reader.reads("/@bob/3")) == ["milk?"]
    for path in ("/@ann", "/@ann/1", "/@ann/4", "/@bob/2"):
        await reader.gets(path, 404)
    await reader.says((ANN, "feed public"), (BOB, "feed private"))
    assert texts(await reader.reads("/@ann")) == ["@bob no milk", "tea?"]
    assert texts(await reader.reads("/@ann/4")) == ["@bob no milk"]


async def test_a_page_is_sent_again_only_when_it_has_changed(reader: Reader) -> None:
    await reader.says((ANN, "tea?"))
    answer = await reader.site.get("/@ann/1")
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    tag = answer.headers["ETag"]
    assert await reader.gets("/@ann/1", 304, **{"If-None-Match": tag}) == ""
    await reader.says((ANN, "edit #1 coffee!"))
    assert "coffee!" in await reader.gets("/@ann/1", 200, **{"If-None-Match": tag})


@pytest.mark.parametrize("line", ["feed private", "protect on", "leave-relay yes"])
async def test_pages_have_turns_and_what_is_hidden_meanwhile_is_not_shown(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    await reader.says((ANN, "tea?"), (BOB, "milk?"))
    items, begun, let_go = reader.wire.service.items, asyncio.Event(), asyncio.Event()
    going = 0

    def slow(read: Any) -> Any:
        async def one(*arguments: Any, **more: Any) -> Any:
            nonlocal going
            going += 1
            assert going == 1
            found = await read(*arguments, **more)
            begun.set()
            await let_go.wait()
            going -= 1
            return found

        return one

    for name in ("of_author", "last_authors"):
        monkeypatch.setattr(items, name, slow(getattr(items, name)))
    asking = [asyncio.create_task(reader.gets("/@ann", 404))]
    await begun.wait()
    asking += [asyncio.create_task(reader.gets(path)) for path in ("/@bob", "/", "/@bob.atom")]
    await reader.says((ANN, line))
    let_go.set()
    await asyncio.gather(*asking)


async def test_a_closed_relay_says_so(tmp_path: Path) -> None:
    closed = Registration(policy="closed")
    async with wired_pages(tmp_path, registration=closed) as (wire, site):
        words = (await Reader(wire, site).reads("/")).text_content()
    assert "takes nobody new" in words
    assert "join yourname" not in words


# --- What people may type ------------------------------------------------------------------------

NASTY: Final = (
    "<script>alert(1)</script>",
    "</div></article><script src=//evil.test></script>",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    'https://a.test/"onmouseover=alert(1)//',
    "https://a.test/'onclick='alert(1)",
    "https://a.test/?<script>x</script>",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1) data:text/html,<script>alert(1)</script> vbscript:x",
    "https://javascript:alert(1)@a.test/",
    "{{ 7 * 7 }} {% raw %} {{ config }} ${7*7}",
    "&lt;script&gt; &amp; &#60;b&#62; &#x3c;b&#x3e;",
    "<!-- x --> <![CDATA[ x ]]> ]]> <?php x ?>",
    '#tag"onclick=x @bob"onclick=x',
    "a\u202eb\u200bc\ufeffd \u2028 e",
    "😀 " * 300,
    "<" * 1_000,
)


async def test_what_people_type_is_text_whatever_it_is(reader: Reader) -> None:
    for number, text in enumerate(NASTY, 1):
        await reader.says((ANN, f"\\{text}"))
        page = await reader.reads(f"/@ann/{short_id(number)}")
        shown = page.cssselect(".asked .text")
        post = reader.wire.service.delivery.post(number)
        assert post is not None
        assert shown[0].text_content() == post.text
        check_harmless(page)
    await reader.says((ANN, f'profile name "{"<b>x</b>"}"'), (ANN, 'profile about "<i>y</i>"'))
    page = await reader.reads("/@ann")
    check_harmless(page)
    assert page.cssselect(".profile .name")[0].text_content() == "<b>x</b>"


def check_harmless(page: html.HtmlElement) -> None:
    """There is nothing on it but what the templates have."""
    assert not page.xpath(
        "//script|//iframe|//object|//embed|//form|//style|//base|//foreignObject"
    )
    for element in page.iter():
        if not isinstance(element.tag, str):
            raise AssertionError(f"a comment or an instruction: {html.tostring(element)!r}")
        for name, value in element.attrib.items():
            assert not name.startswith("on"), html.tostring(element)
            assert name != "style", html.tostring(element)
            if name in ("href", "src") and value != "data:,":  # of the icon: there is none
                assert value.startswith(("http://", "https://", "xmpp:", "mailto:", "#")), value
    for link in page.cssselect(".text a"):
        if not link.get("href").startswith("http://127.0.0.1"):
            assert set(link.get("rel").split()) >= {"nofollow", "ugc"}


# --- In a browser --------------------------------------------------------------------------------


@browser_needed
async def test_pages_are_well_in_a_real_browser(reader: Reader) -> None:
    await reader.says((ANN, 'profile name "Ann A."'), (ANN, "profile url https://example.org/~ann"))
    await reader.says((ANN, f"tea? https://example.org/{'l' * 240} #tea"), (BOB, "re #1 with milk"))
    await reader.says((BOB, "boost #1"), (ANN, "مرحبا"), *((BOB, f"post {n}") for n in range(25)))
    async with Browser() as browser:
        for name, path in (
            ("front", "/"), ("author", "/@ann"), ("many", "/@bob"), ("post", "/@ann/1"),
        ):  # fmt: skip
            for width, dark in ((PHONE, False), (DESKTOP, True)):
                page = await browser.opens(reader.url + path, width=width, dark=dark)
                assert await page.problems() == [], f"{name}, {width} wide"
                await page.picture(f"{name}-{width}")
                await page.inner.close()
        missing = await browser.opens(f"{reader.url}/@nobody", width=PHONE)
        assert "There is no such page" in await missing.text()
        plain = await browser.opens(f"{reader.url}/@ann/1", scripts=False)
        assert "with milk" in await plain.text(), "it can be read without scripts"

"""Feeds on the web: what is in each for whom, how they are given out, and who has which secret."""

import asyncio
import html
import itertools
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from tests.integration.feed_reader import ATOM, checked_atom, checked_rss, read
from tests.integration.web_world import Answer, Site, wired_pages
from tests.integration.wire import RELAY, Wire
from tests.integration.world import Clock
from xmpprelay.config import Primary
from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.health import Flag
from xmpprelay.core.text import short_id
from xmpprelay.store.posts import PostRow
from xmpprelay.web.feeds import LATE_S

ANN, BOB, CAT, PIA = (f"{name}@example.test" for name in ("ann", "bob", "cat", "pia"))
OPEN: Final = ("/@bob.atom", "/@bob.rss", "/@bob/with-replies.atom")


@dataclass(slots=True)
class Place:
    """A relay with feeds, and somebody who reads them."""

    wire: Wire
    site: Site
    clock: Clock

    async def says(self, *lines: tuple[str, str]) -> list[str]:
        """Let people type; gives what each was answered first."""
        answers = []
        for who, line in lines:
            self.wire.taken()
            self.wire.says(who, line)
            await self.wire.quiet()
            told = (each for each in self.wire.taken() if each.to == who)
            answers.append(next((each.body or each.text for each in told if said(each)), ""))
            self.clock.passes(seconds=LATE_S)
        return answers

    async def gets(self, path: str, status: int = 200, **headers: str) -> Answer:
        answer = await self.site.get(path, {k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status == status, f"{path}: {answer.status} {answer.text[:300]}"
        return answer

    async def feed(self, path: str) -> Any:
        """A feed that is valid, as a reader has it."""
        body = (await self.gets(path)).body
        (checked_rss if ".rss" in path else checked_atom)(body)
        return read(body)

    async def texts(self, path: str) -> list[str]:
        return [text_of(each) for each in (await self.feed(path)).entries]

    async def secret(self, who: str) -> "Secret":
        """New secret addresses of somebody."""
        [answer] = await self.says((who, "feed new"))
        atom, rss, mentions = re.findall(r"http\S+", answer)
        return Secret(atom, rss, mentions)


@dataclass(frozen=True, slots=True)
class Secret:
    """Addresses that somebody was told."""

    atom: str
    rss: str
    mentions: str


def said(stanza: Any) -> bool:
    return stanza.kind == "message" and (stanza.body is not None or stanza.type == "error")


def text_of(entry: Any) -> str:
    """In RSS it is HTML; what these tests post has no more markup in it than its line breaks."""
    if "content" in entry:
        return str(entry.content[0].value)
    return html.unescape(entry.summary.replace("<br />", ""))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """Ann, Bob, Cat and Pia have joined; Pia is protected."""
    clock = Clock()
    async with wired_pages(tmp_path, clock) as (wire, site):
        place = Place(wire, site, clock)
        for who in (ANN, BOB, CAT, PIA):
            await place.says((who, f"join {who.partition('@')[0]}"))
        await place.says((PIA, "protect on"))
        clock.passes(days=2)  # they are not new any more
        yield place


# --- Public feeds --------------------------------------------------------------------------------


async def test_an_authors_posts_are_in_his_feed_the_newest_first(place: Place) -> None:
    await place.says((BOB, "first #tea"), (BOB, "second\nwith <b>more</b> & ]]>"))
    await place.says((BOB, "https://example.org/cup.png"), (ANN, "of somebody else"))
    for path in OPEN:
        shown = await place.texts(path)
        assert len(shown) == 3
        assert "cup.png" in shown[0]
        assert shown[2] == "first #tea"
    assert (await place.texts("/@bob.atom"))[1] == "second\nwith <b>more</b> & ]]>"
    feed = await place.feed("/@bob.atom")
    [_, _, first] = feed.entries
    epoch = place.wire.service.db.epoch
    assert first.id == f"xmpp:{RELAY}?;node=1.{epoch}"
    assert first.link == f"{place.site.base_url}/@bob/1"
    assert first.title == "first #tea"
    assert first.author == "bob"
    assert first.author_detail.href == f"{place.site.base_url}/@bob"
    assert [each.term for each in first.tags] == ["tea"]
    assert feed.feed.link == f"{place.site.base_url}/@bob"
    rss = await place.feed("/@bob.rss")
    assert [each.id for each in rss.entries] == [each.id for each in feed.entries]


async def test_replies_to_others_are_in_the_other_feed(place: Place) -> None:
    await place.says((ANN, "question"), (BOB, "re #1 answer"), (BOB, "mine"))
    await place.says((BOB, "re #3 to myself"), (BOB, "naming @ann at the end"))
    assert await place.texts("/@bob.atom") == ["naming @ann at the end", "to myself", "mine"]
    assert await place.texts("/@bob.rss") == ["naming @ann at the end", "to myself", "mine"]
    shown = await place.texts("/@bob/with-replies.atom")
    assert shown == ["naming @ann at the end", "to myself", "mine", "@ann answer"]
    feed = await place.feed("/@bob/with-replies.atom")
    assert feed.entries[1].id == f"xmpp:{RELAY}?;node=4.{place.wire.service.db.epoch}"
    root = checked_atom((await place.gets("/@bob/with-replies.atom")).body)
    answered = root.findall(f"{ATOM}entry")[3][-1]
    assert answered.get("ref") == f"xmpp:{RELAY}?;node=1.{place.wire.service.db.epoch}"
    assert answered.get("href") == f"{place.site.base_url}/@ann/1"


async def test_a_boost_is_shown_and_says_whose_it_is(place: Place) -> None:
    await place.says((ANN, "worth reading"), (BOB, "boost #1"))
    [entry] = (await place.feed("/@bob.atom")).entries
    assert entry.title == "@bob boosts @ann: worth reading"
    assert entry.link == f"{place.site.base_url}/@ann/1"
    assert entry.author == "ann"
    assert entry.id == f"xmpp:{RELAY}?;node=2.{place.wire.service.db.epoch}"


async def test_what_somebody_writes_to_one_person_is_in_no_feed(place: Place) -> None:
    await place.says((ANN, "follow bob"), (BOB, "d ann secretly"), (BOB, "openly"))
    own = await place.secret(ANN)
    for path in (*OPEN, own.atom, own.rss, own.mentions, (await place.secret(BOB)).atom):
        assert "secretly" not in (await place.gets(path)).text


async def test_an_edit_changes_the_entry_and_a_deletion_takes_it_out(place: Place) -> None:
    await place.says((BOB, "tee"), (BOB, "stays"), (ANN, "boost #1"))
    [before] = [each for each in (await place.feed("/@bob.atom")).entries if each.title == "tee"]
    place.clock.passes(minutes=1)
    await place.says((BOB, "edit #1 tea"))
    [_, after] = (await place.feed("/@bob.atom")).entries
    assert (after.id, after.title, after.published) == (before.id, "tea", before.published)
    assert after.updated > before.updated
    assert await place.texts("/@ann.atom") == ["tea"]
    await place.says((BOB, "del #1"))
    assert await place.texts("/@bob.atom") == ["stays"]
    assert await place.texts("/@ann.atom") == []


async def test_a_tag_has_the_posts_of_all_public_authors(place: Place) -> None:
    assert await place.texts("/tag/tea.atom") == []
    await place.says((ANN, "one #Tea"))
    assert await place.texts("/tag/tea.atom") == ["one #Tea"]
    await place.says((BOB, "#tea two"), (CAT, "#teapot"), (PIA, "hers #tea"))
    await place.says((BOB, "about tea"), (ANN, "straße #Straße"))
    assert await place.texts("/tag/tea.atom") == ["#tea two", "one #Tea"]
    assert await place.texts("/tag/TEA.atom") == ["#tea two", "one #Tea"]
    assert await place.texts("/tag/stra%C3%9Fe.atom") == ["straße #Straße"]
    assert await place.texts("/tag/nothing.atom") == []
    for bad in ("12", "two%20words", "%23tea", "x" * 80):
        await place.gets(f"/tag/{bad}.atom", 404)


async def test_nobody_protected_private_blocked_or_gone_has_a_feed_at_all(place: Place) -> None:
    await place.says((BOB, "off soon #tea"), (PIA, "hers"), (CAT, "barred #tea"), (ANN, "ann"))
    await place.says((ANN, "boost #1"), (ANN, "boost #3"))
    assert len(await place.texts("/tag/tea.atom")) == 2
    assert len(await place.texts("/@ann.atom")) == 3
    absent = {path: await place.gets(path.replace("bob", "nobody"), 404) for path in OPEN}
    for path, nobody in absent.items():
        assert (await place.gets(path.replace("bob", "pia"), 404)).body == nobody.body
    await place.says((BOB, "feed private"))
    place.wire.service.graph.block(OPERATOR, CAT)
    for path, nobody in absent.items():
        for who in ("bob", "cat"):
            gone = await place.gets(path.replace("bob", who), 404)
            assert gone.body == nobody.body
            assert header_names(gone) == header_names(nobody)
    await place.gets("/@bob", 404)
    assert await place.texts("/tag/tea.atom") == []
    assert await place.texts("/@ann.atom") == ["ann"]
    await place.says((BOB, "feed public"))
    assert await place.texts("/@bob.atom") == ["off soon #tea"]
    assert len(await place.texts("/@ann.atom")) == 2
    await place.says((BOB, "leave-relay yes"))
    assert (await place.gets("/@bob.atom", 404)).body == absent["/@bob.atom"].body
    assert await place.texts("/@ann.atom") == ["ann"]


async def test_whoever_protects_himself_is_gone_from_all_feeds_at_once(place: Place) -> None:
    await place.says((BOB, "was public #tea"), (ANN, "boost #1"))
    for path in ("/@bob.atom", "/@ann.atom", "/tag/tea.atom"):
        assert len(await place.texts(path)) == 1
    await place.says((BOB, "protect on"))
    await place.gets("/@bob.atom", 404)
    for path in ("/@ann.atom", "/tag/tea.atom"):
        assert await place.texts(path) == []


async def test_a_new_handle_leads_on_and_ids_stay(place: Place) -> None:
    await place.says((BOB, "hello"))
    before = await place.feed("/@bob.atom")
    place.clock.passes(days=31)
    [answer] = await place.says((BOB, ":join bert"))
    assert "You are @bert now" in answer
    for path in OPEN:
        led = await place.gets(path, 308)
        assert led.headers["Location"] == place.site.base_url + path.replace("bob", "bert")
    after = await place.feed("/@bert.atom")
    assert after.feed.id == before.feed.id
    assert [each.id for each in after.entries] == [each.id for each in before.entries]
    assert after.entries[0].author == "bert"
    led = await place.gets("/@BERT.atom", 308)
    assert led.headers["Location"] == f"{place.site.base_url}/@bert.atom"
    await place.says((BOB, "protect on"))
    nobody = await place.gets("/@nobody.atom", 404)
    assert (await place.gets("/@bob.atom", 404)).body == nobody.body


async def test_a_language_is_told_of_each_post(place: Place) -> None:
    await place.says((BOB, "lang de"), (BOB, "Guten Tag"))
    root = checked_atom((await place.gets("/@bob.atom")).body)
    [entry] = root.iter(f"{ATOM}entry")
    assert entry.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"


async def test_what_a_client_has_uploaded_is_an_enclosure(place: Place) -> None:
    await place.says((BOB, "hello"))
    address = "https://up.test/tea.png"
    place.wire.feeds(
        f"<message from='{BOB}/phone' to='home@{RELAY}' type='chat' id='up'><body>{address}</body>"
        f"<x xmlns='jabber:x:oob'><url>{address}</url></x></message>"
    )
    await place.wire.quiet()
    for kind in ("atom", "rss"):
        [enclosure] = (await place.feed(f"/@bob.{kind}")).entries[0].enclosures
        assert (enclosure.href, enclosure.type) == (address, "image/png"), kind


# --- Somebody's own ------------------------------------------------------------------------------


async def test_home_has_those_whom_somebody_follows_and_what_names_him(place: Place) -> None:
    await place.says((ANN, "before"), (BOB, "follow ann"), (PIA, "follow bob"))
    own = await place.secret(BOB)
    assert await place.texts(own.atom) == []
    await place.says((ANN, "tea"), (CAT, "not followed"), (CAT, "hello @bob"), (BOB, "my own"))
    await place.says((ANN, "@cat a reply to somebody else"))
    assert await place.texts(own.atom) == ["hello @bob", "tea"]
    assert await place.texts(own.rss) == ["hello @bob", "tea"]
    assert await place.texts(own.mentions) == ["hello @bob"]
    await place.says((BOB, "replies all"))
    assert (await place.texts(own.atom))[0] == "@cat a reply to somebody else"


async def test_home_shows_an_approved_follower_what_is_protected(place: Place) -> None:
    await place.says((BOB, "follow pia"), (PIA, "approve bob"), (CAT, "follow pia"))
    await place.says((PIA, "for few"))
    his, hers = await place.secret(BOB), await place.secret(CAT)
    [entry] = (await place.feed(his.atom)).entries
    assert text_of(entry) == "for few"
    assert entry.get("links", []) == [], "there is no page of it"
    assert entry.author_detail.href == f"xmpp:pia@{RELAY}"
    assert await place.texts(hers.atom) == []
    await place.says((PIA, "lose bob"))
    assert await place.texts(his.atom) == []


@pytest.mark.parametrize("who_blocks", [ANN, BOB], ids=["the author", "the reader"])
async def test_a_block_holds_in_home_and_mentions(place: Place, who_blocks: str) -> None:
    await place.says((BOB, "follow ann"), (BOB, "follow cat"))
    await place.says((ANN, "hers"), (ANN, "to @bob"), (CAT, "boost #1"), (CAT, "cat's"))
    own = await place.secret(BOB)
    assert set(await place.texts(own.atom)) == {"hers", "to @bob", "cat's"}
    assert await place.texts(own.mentions) == ["to @bob"]
    await place.says((who_blocks, f"block {'bob' if who_blocks == ANN else 'ann'}"))
    assert await place.texts(own.atom) == ["cat's"]
    assert await place.texts(own.rss) == ["cat's"]
    assert await place.texts(own.mentions) == []
    assert len(await place.texts("/@ann.atom")) == 2, "a public feed cannot tell readers apart"


async def test_a_mute_and_the_setting_of_mentions_hold(place: Place) -> None:
    await place.says((BOB, "follow ann"), (BOB, "follow cat"))
    await place.says((BOB, "mute ann"), (BOB, 'mute "noise"'), (BOB, "mentions none"))
    await place.says((ANN, "muted"), (CAT, "much noise"), (CAT, "fine"), (PIA, "hey @bob"))
    own = await place.secret(BOB)
    assert await place.texts(own.atom) == ["fine"]
    assert await place.texts(own.mentions) == []


async def test_a_secret_is_told_once_ends_and_is_kept_as_a_hash(
    place: Place, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        first = await place.secret(BOB)
        assert await place.texts(first.atom) == []
        second = await place.secret(BOB)
        absent = await place.gets("/home/nobody.atom", 404)
        for path in (first.atom, first.rss, first.mentions):
            assert (await place.gets(path, 404)).body == absent.body
        for path in (second.atom, second.rss, second.mentions):
            await place.gets(path)
    [shown] = await place.says((BOB, "feed"))
    secret = second.atom.rpartition("/")[2].removesuffix(".atom")
    assert len(secret) * 5 >= 128
    assert secret not in shown
    assert secret not in repr(logs)
    for file in files(tmp_path):
        assert secret.encode() not in file.read_bytes(), file
    await place.says((BOB, "leave-relay yes"))
    assert (await place.gets(second.atom, 404)).body == absent.body


def files(folder: Path) -> list[Path]:
    found = [each for each in folder.iterdir() if each.is_file()]
    assert found
    return found


async def test_wrong_and_absent_secrets_are_the_same_bytes(place: Place) -> None:
    """Row 38: nobody learns by trying whether a secret is nearly right, or somebody has one."""
    before = await place.gets("/home/abcdefghijklmnopqrstuvwxyz.atom", 404)
    own = await place.secret(BOB)
    secret = own.atom.rpartition("/")[2].removesuffix(".atom")
    tries = [secret[:-1], secret + "a", secret.upper(), secret[::-1], "x", "%00", "%F0%9F%8D%B5"]
    tries += ["..%2f..%2fetc", "a" * 3000]
    for wrong in tries:
        for path in (f"/home/{wrong}.atom", f"/home/{wrong}.rss", f"/mentions/{wrong}.atom"):
            for query in ("", "?before=1", "?before=nonsense"):
                answer = await place.gets(path + query, 404)
                if wrong != "%00":  # that never comes to a page of any kind
                    assert answer.body == before.body, path
                assert header_names(answer) == header_names(before)
    await place.gets(own.atom)


async def test_secret_feeds_are_kept_by_nobody_on_the_way(place: Place) -> None:
    own = await place.secret(BOB)
    for path in (own.atom, own.rss, own.mentions):
        answer = await place.gets(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Robots-Tag"] == "noindex"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert (await place.gets("/@bob.atom")).headers["Cache-Control"] == "public, max-age=60"


async def test_the_operators_block_takes_posts_out_of_all_feeds_at_once(place: Place) -> None:
    await place.says((CAT, "hers #tea"), (ANN, "boost #1"))
    for path in ("/@ann.atom", "/tag/tea.atom"):
        assert len(await place.texts(path)) == 1
    place.wire.service.graph.block(OPERATOR, CAT)
    for path in ("/@ann.atom", "/tag/tea.atom"):
        assert await place.texts(path) == []
    place.wire.service.graph.unblock(OPERATOR, CAT)
    for path in ("/@ann.atom", "/tag/tea.atom"):
        assert len(await place.texts(path)) == 1


async def test_the_operators_block_ends_a_secret(place: Place) -> None:
    own, absent = await place.secret(BOB), await place.gets("/home/x.atom", 404)
    place.wire.service.graph.block(OPERATOR, BOB)
    assert (await place.gets(own.atom, 404)).body == absent.body


# --- The command ---------------------------------------------------------------------------------


async def test_feed_says_where_feeds_are(place: Place) -> None:
    url = place.site.base_url
    [shown, off, none, on] = await place.says(
        (BOB, "feed"), (BOB, "feed private"), (BOB, "feed"), (BOB, "feed public")
    )
    for path in OPEN:
        assert f"{url}{path}" in shown
        assert f"{url}{path}" in on
    assert "`feed new`" in shown
    assert "off the web" in off
    assert "`feed public`" in none
    await place.secret(BOB)
    [shown, hers, stranger] = await place.says(
        (BOB, "feed"), (PIA, "feed"), ("new@else.test", ":feed private")
    )
    assert f"{place.clock.now():%Y-%m-%d}" in shown
    assert "protected" in hers
    assert "join" in stranger


async def test_a_first_block_says_where_it_can_still_be_read(place: Place) -> None:
    [answer] = await place.says((BOB, "block ann"))
    assert f"such as {place.site.base_url}/@bob.atom; `protect on` is the remedy." in answer
    await place.says((CAT, "feed private"))
    [answer] = await place.says((CAT, "block ann"))
    assert "such as a feed;" in answer


async def test_what_a_digest_leaves_out_is_in_the_feed(place: Place) -> None:
    digests = place.wire.service.digests
    await place.says(*((BOB, f"number {n}") for n in range(12)))
    service = place.wire.service
    posts = [post for n in range(1, 13) if (post := service.delivery.post(n)) is not None]
    last = digests.text(posts).splitlines()[-1]
    assert last == f"and 2 more: `last bob 2` or {place.site.base_url}/@bob.atom"
    await place.says((BOB, "protect on"))
    assert digests.text(posts).splitlines()[-1] == "and 2 more: `last bob 2`"


async def test_all_that_is_held_of_somebody_has_his_feed_and_not_the_secret(place: Place) -> None:
    from xmpprelay.store.account import data_of

    own = await place.secret(BOB)
    await place.says((BOB, "feed private"))
    held = await place.wire.service.db.read(lambda conn: list(data_of(conn, BOB)))
    assert {"type": "setting", "name": "feed", "value": "private"} in held
    [secret] = [each for each in held if each["type"] == "secret feeds"]
    assert set(secret) == {"type", "since"}
    assert own.atom.rpartition("/")[2].removesuffix(".atom") not in repr(held)


# --- How they are given out ----------------------------------------------------------------------


def header_names(answer: Answer) -> list[str]:
    return sorted(set(answer.headers) - {"Date"})


async def test_who_has_a_feed_already_gets_no_other(place: Place) -> None:
    await place.says((BOB, "tea"))
    first = await place.gets("/@bob.atom")
    tag = first.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        same = await place.gets("/@bob.atom", 304, If_None_Match=known)
        assert same.body == b""
        assert same.headers["ETag"] == tag
        assert same.headers["Cache-Control"] == first.headers["Cache-Control"]
    await place.gets("/@bob.atom", 200, If_None_Match='"other"')
    assert (await place.site.asks("HEAD", "/@bob.atom")).headers["ETag"] == tag
    await place.says((BOB, "milk"))
    other = await place.gets("/@bob.atom", 200, If_None_Match=tag)
    assert other.headers["ETag"] != tag


async def test_a_feed_says_since_when_it_is_so(place: Place) -> None:
    await place.says((BOB, "tea"))
    first = await place.gets("/@bob.atom")
    assert "Last-Modified" not in first.headers, "another one may be made in the same second"
    place.clock.passes(seconds=5)
    at = (await place.gets("/@bob.atom")).headers["Last-Modified"]
    await place.gets("/@bob.atom", 304, If_Modified_Since=at)
    later = format_datetime(parsedate_to_datetime(at) + timedelta(hours=1), usegmt=True)
    await place.gets("/@bob.atom", 304, If_Modified_Since=later)
    earlier = format_datetime(parsedate_to_datetime(at) - timedelta(seconds=1), usegmt=True)
    await place.gets("/@bob.atom", 200, If_Modified_Since=earlier)
    await place.gets("/@bob.atom", 200, If_Modified_Since=at, If_None_Match='"other"')
    await place.gets("/@bob.atom", 200, If_Modified_Since="nonsense")
    place.clock.passes(minutes=2)
    assert (await place.gets("/@bob.atom")).headers["Last-Modified"] == at, "made anew, the same"
    await place.says((BOB, "del #1"))
    place.clock.passes(seconds=5)
    assert parsedate_to_datetime(at) < place.clock.now().astimezone(UTC)
    await place.gets("/@bob.atom", 200, If_Modified_Since=at)


async def test_a_feed_is_made_once_until_something_changes(place: Place) -> None:
    await place.says((BOB, "tea #tea"), (ANN, "hers"))
    pages = place.wire.service.feed_pages
    made = 0
    make = pages._make

    async def counted(*arguments: Any) -> Any:
        nonlocal made
        made += 1
        return await make(*arguments)

    pages._make = counted  # type: ignore[method-assign]
    await asyncio.gather(*(place.gets("/@bob.atom") for _ in range(20)))
    assert made == 1
    await place.says((ANN, "somebody else's"), (ANN, "mute cat"), (CAT, "follow ann"))
    await place.says((BOB, 'profile about "No feed shows it."'))
    await place.gets("/@bob.atom")
    assert made == 1
    await place.says((BOB, 'profile name "Bob B."'))
    assert "Bob B." in (await place.gets("/@bob.atom")).text
    made = 1
    await place.says((BOB, "milk"))
    await place.gets("/@bob.atom")
    assert made == 2
    place.clock.passes(seconds=61)
    await place.gets("/@bob.atom")
    assert made == 3


async def test_a_post_may_come_a_moment_late_and_what_is_hidden_goes_at_once(place: Place) -> None:
    async def at_once(line: str) -> None:
        place.wire.says(BOB, line)
        await place.wire.quiet()

    await place.says((BOB, "tea"), (ANN, "boost #1"))
    assert await place.texts("/@bob.atom") == await place.texts("/@ann.atom") == ["tea"]
    await at_once("milk")
    assert await place.texts("/@bob.atom") == ["tea"]
    place.clock.passes(seconds=LATE_S)
    assert await place.texts("/@bob.atom") == ["milk", "tea"]
    await at_once("edit #1 green tea")
    assert await place.texts("/@bob.atom") == ["milk", "green tea"]
    assert await place.texts("/@ann.atom") == ["green tea"]
    await at_once("feed private")
    await place.gets("/@bob.atom", 404)
    assert await place.texts("/@ann.atom") == []


async def test_feeds_are_made_one_after_the_other_and_kept_ones_do_not_wait(place: Place) -> None:
    await place.says((BOB, "tea"), (ANN, "hers"))
    await place.gets("/@bob.atom")
    streams, held, going = place.wire.service.streams, asyncio.Event(), 0
    of_author = streams.of_author

    async def slow(*arguments: Any, **more: Any) -> Any:
        nonlocal going
        going += 1
        assert going == 1
        await held.wait()
        going -= 1
        return await of_author(*arguments, **more)

    streams.of_author = slow  # type: ignore[method-assign]
    others = [asyncio.create_task(place.gets(f"/@ann.atom?before={n}")) for n in range(2, 7)]
    for _ in range(3):
        await place.gets("/@bob.atom")
    assert not any(each.done() for each in others)
    held.set()
    await asyncio.gather(*others)


@dataclass(slots=True)
class Held:
    """Feeds that are not made before they are let go."""

    begun: asyncio.Event
    let_go: asyncio.Event


@pytest.fixture
def held(place: Place, monkeypatch: pytest.MonkeyPatch) -> Held:
    """The feeds of the place."""
    streams, held = place.wire.service.streams, Held(asyncio.Event(), asyncio.Event())

    def holding(make: Any) -> Any:
        async def slow(*arguments: Any, **more: Any) -> Any:
            made = await make(*arguments, **more)
            held.begun.set()
            await held.let_go.wait()
            return made

        return slow

    for name in ("of_author", "home"):
        monkeypatch.setattr(streams, name, holding(getattr(streams, name)))
    return held


@pytest.mark.parametrize("line", ["feed private", "protect on", "leave-relay yes"])
async def test_what_is_hidden_while_its_feed_is_made_is_not_given_out(
    place: Place, held: Held, line: str
) -> None:
    await place.says((BOB, "tea"))
    asking = asyncio.create_task(place.gets("/@bob.atom", 404))
    await held.begun.wait()
    await place.says((BOB, line))
    held.let_go.set()
    await asking


async def test_a_secret_that_ends_while_its_feed_is_made_opens_nothing(
    place: Place, held: Held
) -> None:
    secret = await place.secret(BOB)
    asking = asyncio.create_task(place.gets(secret.atom, 404))
    await held.begun.wait()
    await place.secret(BOB)
    held.let_go.set()
    await asking


async def test_what_is_kept_is_bounded(place: Place) -> None:
    await place.says(*((BOB, f"{n} {'x' * 1900}") for n in range(60)))
    pages = place.wire.service.feed_pages
    before = [short_id(n) for n in range(30, 61)]
    for name in before:
        await place.gets(f"/@bob.atom?before={name}")
    kept = sum(len(each.body) for each in pages._kept.values())
    assert kept == pages._kept_bytes
    for _ in pages._kept.copy():
        pages._keep(*next(iter(pages._kept.items())))
    assert kept == pages._kept_bytes


async def all_pages(place: Place, path: str) -> list[list[str]]:
    """The texts of a feed, page by page."""
    found, url = [], path
    while url:
        feed = await place.feed(url)
        found.append([text_of(each) for each in feed.entries])
        links = {each.rel: each.href for each in feed.feed.links}
        assert links["self"].endswith(url.removeprefix(place.site.base_url))
        url = links.get("next", "")
    return found


def texts_of(pages: list[list[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(pages))


async def test_pages_reach_every_post_once(place: Place) -> None:
    await place.says((ANN, "follow bob"), (CAT, "hello"))
    mine = itertools.chain.from_iterable(
        [(BOB, f"#tea {n} @ann"), (BOB, f"@cat reply {n}")] for n in range(120)
    )
    await place.says(*mine)
    own = await place.secret(ANN)
    expected = [f"#tea {n} @ann" for n in reversed(range(120))]
    for path in ("/@bob.atom", "/@bob.rss", "/tag/tea.atom", own.atom, own.rss, own.mentions):
        pages = await all_pages(place, path)
        assert texts_of(pages) == expected, path
        assert [len(each) for each in pages] == [50, 50, 20], path
    pages = await all_pages(place, "/@bob/with-replies.atom")
    assert len(texts_of(pages)) == len(set(texts_of(pages))) == 240


async def test_pages_go_on_where_one_has_looked_in_vain(place: Place) -> None:
    """Two thousand replies in a row are looked past, a page without posts in between."""
    await place.says((BOB, "the first"), (CAT, "hello"))
    service = place.wire.service
    bob, cat = (service.graph.by_jid(who) for who in (BOB, CAT))
    assert bob is not None
    assert cat is not None
    row = PostRow(bob.id, "@cat reply", targets=(cat.id,))
    await asyncio.gather(*(service.journal.append(row) for _ in range(2100)))
    await place.wire.quiet()
    pages = await all_pages(place, "/@bob.atom")
    assert pages == [[], ["the first"]]


async def test_a_long_feed_is_cut_into_pages_by_its_length_as_well(place: Place) -> None:
    await place.says(*((BOB, f"{n:02} " + "&" * 1590) for n in range(40)))
    pages = await all_pages(place, "/@bob.atom")
    assert len(pages) > 1
    assert [each[:2] for each in texts_of(pages)] == [f"{n:02}" for n in reversed(range(40))]


@pytest.mark.parametrize("wrong", ["x!", "", "0", "%00", "-1", "z" * 14, "tea%20time"])
async def test_nonsense_for_a_page_is_refused_with_a_sentence(place: Place, wrong: str) -> None:
    own = await place.secret(BOB)
    for path in (*OPEN, "/tag/tea.atom", own.atom):
        answer = await place.gets(f"{path}?before={wrong}", 400)
        assert "such as k3f" in answer.text
    await place.gets("/@bob.atom?page=x")


async def test_a_number_beyond_all_posts_is_the_newest_page(place: Place) -> None:
    await place.says((BOB, "tea #tea"))
    for path in ("/@bob.atom", "/tag/tea.atom"):
        assert await place.texts(f"{path}?before=7zzzzzzzzzzzz") == ["tea #tea"]


async def test_all_feeds_tell_of_a_standby_while_it_lasts(place: Place) -> None:
    await place.says((BOB, "tea"))
    since = datetime(2026, 3, 1, 14, 2, tzinfo=UTC)
    before = (await place.gets("/@bob.atom")).headers["ETag"]
    feeds = place.wire.service.feeds
    feeds.note = lambda: f"on standby since {since:%H:%M} UTC"
    own = await place.secret(BOB)
    for path in ("/@bob.atom", "/@bob.rss", "/tag/tea.atom", own.atom):
        assert "on standby since 14:02 UTC" in (await place.feed(path)).feed.subtitle
    feeds.note = lambda: ""
    assert (await place.gets("/@bob.atom")).headers["ETag"] == before


async def test_the_note_of_a_standby_is_the_same_all_the_time(tmp_path: Path) -> None:
    """How many wait is not in it: each post would make all feeds new."""
    primary = Primary(driver="sql", url=f"sqlite:///{tmp_path}/primary.db")
    async with wired_pages(tmp_path, primary=primary) as (wire, site):
        place = Place(wire, site, Clock())
        await place.says((BOB, "join bob"), (ANN, "join ann"), (BOB, "tea"))
        before = await place.gets("/@bob.atom")
        assert "standby" not in before.text
        standby = wire.service.inserting.standby
        [site_name] = wire.service.inserting.places
        await standby.flag(site_name, Flag.ON)
        during = await place.gets("/@bob.atom")
        assert re.search(r"on standby since [\d-]+ [\d:]+ UTC\. Posts go on here", during.text)
        await place.says((ANN, "one that waits"))
        assert (await place.gets("/@bob.atom")).body == during.body
        await standby.flag(site_name, Flag.OFF)
        assert (await place.gets("/@bob.atom")).body == before.body


async def test_a_relay_without_pages_says_so(tmp_path: Path) -> None:
    from tests.integration.wire import wired

    async with wired(tmp_path) as wire:
        for line in ("join bob", "feed", "feed new", "feed private"):
            wire.taken()
            wire.says(BOB, line)
            await wire.quiet()
            if line != "join bob":
                [answer] = [each for each in wire.taken() if said(each)]
                assert "no pages" in answer.text


async def test_feeds_work_below_a_path(tmp_path: Path) -> None:
    async with wired_pages(tmp_path, path="/relay") as (wire, site):
        place = Place(wire, site, Clock())
        await place.says((BOB, "join bob"), (BOB, "tea"))
        feed = await place.feed("/@bob.atom")
        assert feed.entries[0].link == f"{site.base_url}/@bob/1"
        assert site.base_url.endswith("/relay")

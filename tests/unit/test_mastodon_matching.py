"""Whether a listed status is a post that was sent; and how far a list is read for that."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html import escape
from json import dumps
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.primary import Outcome, Result, Status, Visibility
from xmpprelay.primary.answers import Answer
from xmpprelay.primary.mastodon.matching import (
    Likeness,
    application_of,
    folded,
    likeness,
    same_source,
)
from xmpprelay.primary.mastodon.own_list import PAGE, OwnList
from xmpprelay.primary.mastodon.profiles import UNKNOWN, profile_of

NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC)
MASTODON = profile_of("mastodon")


def sent(text: str, **fields: Any) -> Status:
    return Status(
        id="k3f.ab12cd",
        atom_id="tag:relay.example,2026:k3f.ab12cd",
        author="alice@example.org",
        handle="alice",
        text=text,
        published=NOW,
        **fields,
    )


def listed(text: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "content": f"<p>{escape(text)}</p>",
        "visibility": "public",
        "in_reply_to_id": None,
        "created_at": NOW.isoformat(),
        "reblog": None,
        "poll": None,
        "spoiler_text": "",
    } | fields


def like(found: dict[str, Any], status: Status, profile: Any = MASTODON) -> Likeness:
    return likeness(found, status, NOW, profile)


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a  b\n\nc\t", " a b c"),
        ("e\u0301", "\xe9"),
        ("\u212b", "\xc5"),
        ("❤\ufe0f", "❤"),
        ("@\u2060bob", "@bob"),
        ("a\u200bb\ufeff", "ab"),
        ("@alice@social.example hi", "@alice hi"),
        ("(@alice@social.example)", "(@alice)"),
        ("a\xa0b", "a b"),
    ],
)
def test_what_servers_alter_makes_no_difference(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ok", "ok."),
        ("ok", "OK"),
        ("a b", "ab"),
        ("mail carol@example.org", "mail carol"),
        ("👩\u200d🚀", "👩🚀"),
        ("@alice", "@alicia"),
    ],
)
def test_what_is_another_text_stays_one(one: str, other: str) -> None:
    assert folded(one) != folded(other)


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    once = folded(text)
    assert folded(once) == once or "@" in text  # @a@b@c.example is shortened twice


# --- likeness ------------------------------------------------------------------------------------


def test_the_same_text_is_the_same() -> None:
    assert like(listed("tea & <biscuits>"), sent("tea  & <biscuits>")) is Likeness.SAME


@pytest.mark.parametrize(
    "fields",
    [
        {"visibility": "unlisted"},
        {"visibility": None},
        {"in_reply_to_id": "7"},
        {"reblog": {"id": "2"}},
        {"poll": {}},
        {"spoiler_text": "tea"},
        {"created_at": (NOW - timedelta(seconds=1)).isoformat()},
        {"content": "<p>coffee</p>"},
        {"content": None},
    ],
)
def test_everything_has_to_fit(fields: dict[str, Any]) -> None:
    assert like(listed("tea") | fields, sent("tea")) is Likeness.OTHER


def test_a_time_that_nobody_can_read_excludes_nothing() -> None:
    assert like(listed("tea", created_at="?"), sent("tea")) is Likeness.SAME


def test_a_reply_may_have_lost_its_parent_where_that_happens() -> None:
    reply = sent("tea", in_reply_to="7")
    assert like(listed("tea", in_reply_to_id="7"), reply) is Likeness.SAME
    assert like(listed("tea", in_reply_to_id=7), reply) is Likeness.SAME
    assert like(listed("tea", in_reply_to_id="8"), reply) is Likeness.OTHER
    assert like(listed("tea"), reply) is Likeness.OTHER
    for profile in (profile_of("takahe"), UNKNOWN):
        assert like(listed("tea"), reply, profile) is Likeness.SAME
        assert like(listed("tea", in_reply_to_id="7"), sent("tea"), profile) is Likeness.OTHER


@pytest.mark.parametrize(
    "content",
    ["tea.", "TEA", "<em>t</em>ea!"],
)
def test_what_resembles_is_decided_by_its_source(content: str) -> None:
    assert like(listed("", content=content), sent("tea")) is Likeness.NEAR


def test_a_long_text_with_something_more_is_near_and_a_short_one_is_not() -> None:
    assert like(listed("a long text, and a footer"), sent("a long text")) is Likeness.NEAR
    assert like(listed("a long"), sent("a long text")) is Likeness.OTHER
    assert like(listed("tea for two"), sent("tea")) is Likeness.OTHER


def test_the_source_of_a_text_is_text_or_html() -> None:
    assert same_source("1 < 2", sent("1 < 2"), MASTODON)
    assert not same_source("1 < 2.", sent("1 < 2"), MASTODON)
    assert same_source("<p>1 &lt; 2</p>", sent("1 < 2"), profile_of("takahe"))


def test_the_application_is_told_where_it_is() -> None:
    assert application_of({"application": {"name": "xmpprelay"}}) == "xmpprelay"
    for strange in ({}, {"application": None}, {"application": {"name": 3}}, {"application": []}):
        assert application_of(strange) is None


# --- the list ------------------------------------------------------------------------------------


class Server:
    """A list of statuses, newest last, as a server gives it by pages."""

    def __init__(self, *made_s_ago: float, page: int = PAGE, skew_s: float = 0.0) -> None:
        self.statuses = [
            {"id": str(1000 + n), "created_at": (NOW - timedelta(seconds=ago)).isoformat()}
            for n, ago in enumerate(made_s_ago)
        ]
        self.asked: list[dict[str, str]] = []
        self.page = page
        self.skew_s = skew_s
        self.knows = {"min_id", "max_id"}  # by what it pages
        self.fails: Result | None = None

    async def ask(self, path: str, query: Mapping[str, str]) -> Answer | Result:
        assert path == "/api/v1/accounts/7/statuses"
        asked = {key: query[key] for key in ("min_id", "max_id") if key in query}
        self.asked.append(asked)
        if self.fails is not None and len(self.asked) > 1:
            return self.fails
        found = self.statuses
        if "min_id" in asked and "min_id" in self.knows:
            found = [each for each in found if each["id"] > asked["min_id"]][: self.page]
        elif "max_id" in asked and "max_id" in self.knows:
            found = [each for each in found if each["id"] < asked["max_id"]]
        date = format_datetime(NOW + timedelta(seconds=self.skew_s), usegmt=True)
        page = found[-self.page :][::-1]
        return Answer(200, {"date": date}, dumps(page).encode(), NOW)

    def list(self, *, first_s_ago: float = 0.0, by_ours: bool = True) -> OwnList:
        return OwnList(self.ask, "7", NOW - timedelta(seconds=first_s_ago), by_ours=by_ours)


async def read(own: OwnList, high_water: str | None = None) -> list[str] | Result:
    found = await own.read(high_water)
    return found if isinstance(found, Result) else [each["id"] for each in found]


async def test_from_the_mark_upward_to_an_empty_page() -> None:
    server = Server(*range(9, 0, -1), page=3)
    assert await read(server.list(), "1001") == [str(1000 + n) for n in range(2, 9)]
    assert server.asked == [{"min_id": mark} for mark in ("1001", "1004", "1007", "1008")]


async def test_without_a_mark_downward_until_it_is_older() -> None:
    server = Server(*range(90, 0, -10), page=3)
    assert await read(server.list(first_s_ago=35)) == [str(1000 + n) for n in range(3, 9)]
    assert server.asked == [{}, {"max_id": "1006"}]
    assert await read(Server(9, 8, page=3).list(first_s_ago=100)) == ["1000", "1001"]


async def test_a_server_that_does_not_go_by_the_mark_is_read_downward() -> None:
    server = Server(*range(90, 0, -10), page=3)
    server.knows = {"max_id"}
    assert await read(server.list(first_s_ago=35), "1001") == [str(1000 + n) for n in range(3, 9)]


async def test_a_list_without_an_end_proves_nothing() -> None:
    server = Server(*range(90, 0, -10), page=3)
    server.knows = set()
    for mark in (None, "1001"):
        found = await read(server.list(first_s_ago=80), mark)
        assert isinstance(found, Result)
        assert (found.outcome, found.reason) == (Outcome.UNKNOWN, "endless_list")


async def test_a_page_that_fails_fails_the_look() -> None:
    for mark in (None, "1001"):
        server = Server(*range(90, 0, -10), page=3)
        server.fails = Result(Outcome.UNKNOWN, reason="http_502")
        assert await read(server.list(first_s_ago=80), mark) == server.fails


@pytest.mark.parametrize("body", [b"", b"{}", b"[3]", b'[{"id": ""}]', b"<html>"])
async def test_what_is_no_list_proves_nothing(body: bytes) -> None:
    async def ask(_path: str, _query: Mapping[str, str]) -> Answer | Result:
        return Answer(200, {}, body, NOW)

    for mark in (None, "1001"):
        found = await read(OwnList(ask, "7", NOW, by_ours=True), mark)
        assert isinstance(found, Result)
        assert found.reason == "not_json"


async def test_the_clock_of_the_server_is_reckoned_with() -> None:
    server = Server(1.0, skew_s=-3600.0)
    own = server.list(first_s_ago=0.0)
    await own.read(None)
    assert own.since == NOW - timedelta(seconds=3605)
    told = server.list(first_s_ago=0.0, by_ours=False)  # the server was told the time by us
    await told.read(None)
    assert told.since == NOW - timedelta(seconds=5)


async def test_an_id_is_written_into_the_path_as_one_part() -> None:
    paths: list[str] = []

    async def ask(path: str, _query: Mapping[str, str]) -> Answer | Result:
        paths.append(path)
        return Answer(200, {}, b"[]", NOW)

    assert await OwnList(ask, "a/../b?c", NOW, by_ours=True).read(None) == []
    assert paths == ["/api/v1/accounts/a%2F..%2Fb%3Fc/statuses"]


def test_every_visibility_is_compared() -> None:
    for one in Visibility:
        for other in Visibility:
            same = like(listed("tea", visibility=one.value), sent("tea", visibility=other))
            assert (same is Likeness.SAME) == (one is other)

"""What the demo primary shows: nothing that somebody wrote is anything but text. And what the tour
finds wrong with it."""

from dataclasses import replace

import pytest

from xmpprelay.quickstart.demo_primary import pages
from xmpprelay.quickstart.demo_primary.store import Kept, Login, Who
from xmpprelay.quickstart.primary_steps import compared

EVIL = '<script>alert(1)</script> & "><img src=x onerror=alert(1)>'

HELLO = Kept(7, 1, "alice", "Hello", "public", None, "en", "xmpprelay", 1_700_000_000_123, None, ())

ADDRESSES = {"bob": "http://127.0.0.1:1/@bob", "bob@127.0.0.1": "http://127.0.0.1:1/@bob"}


def test_a_text_is_escaped_wherever_it_is_shown() -> None:
    evil = replace(HELLO, text=EVIL, name=EVIL)
    fields = {EVIL: EVIL}
    shown = (
        pages.content(EVIL, ADDRESSES.get),
        pages.timeline([evil], 1),
        pages.one(evil),
        pages.authorize(EVIL, [EVIL], fields, EVIL),
        pages.code(EVIL, EVIL),
        pages.refused(EVIL),
    )
    for html in shown:
        assert "<script" not in html
        assert "<img" not in html
        assert "&lt;script&gt;" in html


def test_an_address_is_a_link_and_ends_where_it_ends() -> None:
    html = pages.content('see https://example.org/a?b=1&c=2 or <https://example.org/d>"', _nobody)
    assert '<a href="https://example.org/a?b=1&amp;c=2" rel="nofollow noopener">' in html
    assert '<a href="https://example.org/d" rel="nofollow noopener">' in html
    assert html.endswith("&gt;&quot;</p>")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@bob and @carol@other.example", ["bob", "carol@other.example"]),
        ("(@bob) .@bob a@bob.example /@bob", ["bob", "bob"]),
        ("@\u2060bob", []),
        ("@bob@127.0.0.1:8080, @bob@127.0.0.1.", ["bob@127.0.0.1:8080", "bob@127.0.0.1"]),
        ("https://example.org/@bob", []),
    ],
)
def test_a_name_is_found_where_it_is_one(text: str, names: list[str]) -> None:
    assert pages.mentioned(text) == names


def test_who_is_here_is_linked_and_others_are_text() -> None:
    html = pages.content("@bob@127.0.0.1 and @carol", ADDRESSES.get)
    assert 'class="u-url mention">@<span>bob</span></a>' in html
    assert html.endswith(" and @carol</p>")


def test_lines_and_paragraphs_are_kept() -> None:
    assert pages.content("a\nb\n\n\nc", _nobody) == "<p>a<br>b</p><p>c</p>"


def test_the_page_says_how_many_there_are() -> None:
    assert "No public posts yet" in pages.timeline([], 0)
    assert "1 public post." in pages.timeline([HELLO], 1)
    assert "60 public posts, the newest 1 of them here." in pages.timeline([HELLO], 60)


def test_the_page_says_what_is_special_about_a_post() -> None:
    special = replace(HELLO, parent=3, edited_ms=HELLO.created_ms, visibility="unlisted")
    assert "reply, edited, unlisted" in pages.one(special)
    assert "22:13:20 UTC" in pages.one(special)
    assert pages.iso(HELLO.created_ms) == "2023-11-14T22:13:20.123Z"


def test_no_page_runs_or_fetches_anything_of_others() -> None:
    policy = pages.HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "script" not in policy


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        ("read write", True),
        ("read write:statuses", True),
        ("write:media write:accounts", False),
        ("read", False),
        ("", False),
    ],
)
def test_a_login_allows_what_it_was_given_and_what_is_below(granted: str, allowed: bool) -> None:
    assert Login(Who(1, "alice"), "app", granted).allows("write:statuses") is allowed


JOURNAL = [("alice", "a"), ("bob", "b"), ("alice", "c"), ("bob", "b")]


@pytest.mark.parametrize(
    ("there", "wrong"),
    [
        (JOURNAL, ""),
        ([JOURNAL[1], JOURNAL[3], JOURNAL[0], JOURNAL[2]], ""),
        (JOURNAL[:3], 'The primary lacks "b" of bob.'),
        ([], 'The primary lacks "a" of alice.'),
        ([*JOURNAL, ("alice", "c")], 'The primary has "c" of alice too often.'),
        ([*JOURNAL, ("carol", "d")], 'The primary has "d" of carol too often.'),
        (JOURNAL[::-1], "The primary has what alice posted in another order."),
    ],
)
def test_the_tour_finds_what_is_lost_doubled_or_out_of_order(
    there: list[tuple[str, str]], wrong: str
) -> None:
    assert compared(JOURNAL, there) == wrong


def _nobody(_name: str) -> None:
    return None

"""How posts are written down for who asks to read, and what a search finds."""

from datetime import UTC, datetime, timedelta

import pytest

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Kind, Person, Post
from xmpprelay.reading import ANSWER_CHARS, age, fitting, has_tag, has_words, line_of

NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def graph() -> Graph:
    graph = Graph(["example.org"])
    for number, name in enumerate(("alice", "bob"), 1):
        graph.add_person(Person(number, f"{name}@example.org", name))
    return graph


def test_a_post_stands_as_home_sends_it(graph: Graph) -> None:
    post = Post(19567, 1, "hello", None, NOW - timedelta(hours=3))
    assert line_of(graph, post, NOW) == "alice: hello  #k3f · 3 h"


def test_a_boost_shows_the_post_and_its_id(graph: Graph) -> None:
    shown = Post(19567, 2, "hello", None, NOW)
    boost = Post(19570, 1, "", None, NOW, Kind.BOOST, original=shown)
    assert line_of(graph, boost, NOW) == "alice boosts bob: hello  #k3f · now"


def test_a_direct_message_says_that_it_is_one(graph: Graph) -> None:
    post = Post(1, 1, "psst", None, NOW, Kind.DIRECT, targets=(2,))
    assert line_of(graph, post, NOW) == "alice to @bob alone: psst  #1 · now"


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        (timedelta(seconds=-5), "now"),
        (timedelta(seconds=59), "now"),
        (timedelta(minutes=1), "1 min"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=23, minutes=59), "23 h"),
        (timedelta(days=1), "1 d"),
        (timedelta(days=30, hours=23), "30 d"),
        (timedelta(days=31), "2030-03-31"),
    ],
)
def test_an_age_is_short(span: timedelta, shown: str) -> None:
    assert age(NOW - span, NOW) == shown


def test_an_answer_has_the_newest_lines_that_there_is_room_for() -> None:
    lines = [f"{n:04}" for n in range(10)]
    assert fitting(lines) == lines
    long = [str(n) * (ANSWER_CHARS // 2 - 1) for n in range(4)]
    assert fitting(long) == long[2:]
    assert fitting(["x" * (ANSWER_CHARS + 1)]) == ["x" * (ANSWER_CHARS + 1)]
    assert fitting([]) == []


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [
        ("the cat", "On the  mat: THE\nCAT.", True),
        ("the cat", "the black cat", False),
        ("Köln", "KO\u0308LN", True),
        ("straße", "STRASSE", True),
        ("100%", "it is 100% so", True),
        (".*", "anything", False),
    ],
)
def test_words_are_found_in_any_case(words: str, text: str, found: bool) -> None:
    assert has_words(words)(text) is found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#cats", True),
        ("I like #CATS.", True),
        ("#catsanddogs", False),
        ("a#cats", False),
        ("cats", False),
        ("##cats", True),
    ],
)
def test_a_tag_is_found_whole(text: str, found: bool) -> None:
    assert has_tag("cats")(text) is found

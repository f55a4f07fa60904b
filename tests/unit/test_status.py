"""A post as a status: its text, its names, its length, and who sees it there."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmpprelay.core.insertion import Rules, Send
from xmpprelay.core.model import Post
from xmpprelay.core.primary import Caps, Visibility
from xmpprelay.core.status import Naming, cut, fits, texts_of, visibility_of, weight

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINK = "xmpp:alice@relay.example?;item=1"
RULES = Rules()
CAPS = Caps("a server", max_chars=500, url_weight=23, names=True)

LINKED = {"bob": "bob@social.example", "carol": ""}
"""Bob has linked an account, carol has none; of others of our domain nobody has heard."""


def there(name: str, domain: str | None) -> str | None:
    if domain in (None, "relay.example"):
        return LINKED.get(name, "")
    return None


NAMING = Naming(there)


def text_of(text: str, caps: Caps = CAPS, rules: Rules = RULES, naming: Naming = NAMING) -> str:
    texts = texts_of(Post(1, 1, text, None, NOW), caps, rules, naming, LINK, NOW)
    assert texts is not None
    [only] = texts
    return only


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("@bob hello", "@bob@social.example hello"),
        (".@bob and (@bob), @BOB.", ".@{b} and (@{b}), @{b}."),
        ("@carol hello", "@\u2060carol hello"),
        (".@carol (@carol)", ".@\u2060carol (@\u2060carol)"),
        ("@nobody", "@\u2060nobody"),
        ("@bob@relay.example", "@bob@social.example"),
        ("@carol@relay.example yes", "@\u2060carol@relay.example yes"),
        ("@x@elsewhere.example", "@x@elsewhere.example"),
        ("mail bob@relay.example", "mail bob@relay.example"),
        ("@bob @carol @bob", "@{b} @\u2060carol @{b}"),
        ("no names", "no names"),
        ("@" + "x" * 21, "@\u2060" + "x" * 21),  # too long for a name of ours
        ("@carol@carol @@carol", "@\u2060carol@carol @@\u2060carol"),
        ("@bob.Yes @bob-like @bob. @bob-", "@{b}\u2060.Yes @{b}\u2060-like @{b}. @{b}-"),
        ("https://elsewhere.example/@bob/1 @bob", "https://elsewhere.example/@bob/1 @{b}"),
        ("@carol http://a.b/@carol.", "@\u2060carol http://a.b/@carol."),
        ("@carol-@carol.example", "@\u2060carol-@\u2060carol.example"),
        ("@carol.x@carol.example", "@carol.x@carol.example"),
    ],
)
def test_a_name_is_of_the_linked_account_or_of_nobody_there(text: str, becomes: str) -> None:
    assert text_of(text) == becomes.format(b="bob@social.example")


def test_where_a_bare_name_means_nobody_it_stays() -> None:
    assert text_of("@bob and @carol", replace(CAPS, names=False)) == "@bob and @carol"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ("@carol", "@Carol", "@no_body", "@", " ", ".", "(", ")", "\n", "a", "é", "x" * 20, "-")
        ),
        max_size=12,
    ).map("".join)
)
def test_no_bare_name_is_left(text: str) -> None:
    """Whoever reads it as the primary does, a name begins with `@` and a letter behind a gap."""
    written = text_of(text)
    name = re.search(r"(?<![A-Za-z0-9_])@[A-Za-z0-9_][^\s@]*(@[A-Za-z0-9-]+\.\w)?", written)
    assert name is None or name[1], "an address elsewhere may stay"
    assert written.replace("\u2060", "").lower() == text.lower(), "nothing else has changed"


# --- how long it is ------------------------------------------------------------------------------


def test_an_address_has_a_fixed_weight_and_a_name_no_host() -> None:
    assert weight("see https://example.org/" + "x" * 200, CAPS) == 4 + 23
    assert weight("see http://a.b ok", CAPS) == 4 + 23 + 3
    assert weight("https://a.b", replace(CAPS, url_weight=None)) == 11
    assert weight("@bob@social.example hi", CAPS) == len("@bob hi")
    assert weight("@bob@social.example hi", replace(CAPS, names=False)) == 22
    assert weight("ü🎉", CAPS) == 2


def test_whether_it_fits() -> None:
    assert fits("x" * 500, CAPS)
    assert not fits("x" * 501, CAPS)
    assert fits("x" * 10_000, replace(CAPS, max_chars=None))
    assert fits("x" * 470 + " https://example.org/" + "y" * 100, CAPS)


def test_too_long_is_refused_where_the_operator_wants_it_so() -> None:
    rules = replace(RULES, long="refuse")
    post = Post(1, 1, "x" * 501, None, NOW)
    assert texts_of(post, CAPS, rules, NAMING, LINK, NOW) is None
    assert texts_of(replace(post, text="x" * 500), CAPS, rules, NAMING, LINK, NOW) is not None


def test_too_long_is_cut_at_a_word_with_a_link_to_the_whole() -> None:
    small = replace(CAPS, max_chars=60)
    text = "one two three four five six seven eight nine ten eleven twelve thirteen"
    assert text_of(text, small) == f"one two three four five… {LINK}"
    assert len(text_of("x" * 100, small)) == 60
    assert text_of("x" * 60, small) == "x" * 60


def test_too_long_is_split_into_parts_that_say_which_they_are() -> None:
    post = Post(1, 1, "one two three four five six seven eight", None, NOW)
    small = replace(CAPS, max_chars=25)
    texts = texts_of(post, small, replace(RULES, long="split"), NAMING, LINK, NOW)
    assert texts == ("one two three four… 1/3", "five six seven… 2/3", "eight 3/3")


_WORDS = st.lists(
    st.sampled_from(
        ("word", "a", "@bob", "@carol", "https://example.org/a/b/c/d/e/f", "ü🎉", "\n", "x" * 90)
    ),
    min_size=1,
    max_size=80,
).map(" ".join)


@settings(max_examples=120, deadline=None)
@given(_WORDS, st.integers(40, 200), st.sampled_from((None, 23)))
def test_whatever_it_is_each_part_fits_and_nothing_is_lost(
    text: str, most: int, url_weight: int | None
) -> None:
    caps = replace(CAPS, max_chars=most, url_weight=url_weight)
    post = Post(1, 1, text, None, NOW)
    [whole] = texts_of(post, replace(caps, max_chars=None), RULES, NAMING, LINK, NOW) or ()
    split = texts_of(post, caps, replace(RULES, long="split"), NAMING, LINK, NOW)
    assert split is not None
    for part in split:
        assert weight(part, caps) <= most
    if len(split) > 1:
        said = [part.rpartition(" ") for part in split]
        assert [which for _, _, which in said] == [
            f"{n}/{len(split)}" for n in range(1, len(split) + 1)
        ]
        joined = "".join(words.removesuffix("…") for words, _, _ in said)
    else:
        joined = split[0]
    assert "".join(joined.split()) == "".join(whole.split())
    linked = texts_of(post, caps, RULES, NAMING, LINK, NOW)
    assert linked is not None
    assert weight(linked[0], caps) <= most


@settings(max_examples=100, deadline=None)
@given(_WORDS, st.integers(0, 300))
def test_a_cut_is_a_beginning_that_fits(text: str, most: int) -> None:
    short = cut(text, CAPS, most)
    assert text.startswith(short)
    assert weight(short, CAPS) <= most
    if weight(text, CAPS) <= most:
        assert short == text


# --- when it was, who says it, what it answers ---------------------------------------------------


def later(caps: Caps, minutes: float, text: str = "hello") -> tuple[str, ...] | None:
    rules = replace(RULES, time="suffix")
    post = Post(1, 1, text, None, NOW)
    return texts_of(post, caps, rules, NAMING, LINK, NOW + timedelta(minutes=minutes))


def test_what_comes_late_says_when_it_was() -> None:
    assert later(CAPS, 5) == ("hello",)
    assert later(CAPS, 6) == ("hello (2026-03-01 12:00 UTC)",)
    cut_short = later(replace(CAPS, max_chars=80), 6, "x" * 100)
    assert cut_short is not None
    assert cut_short[0].endswith(f"… {LINK} (2026-03-01 12:00 UTC)")
    assert len(cut_short[0]) == 80
    assert text_of("hello") == "hello", "by default it says nothing"


def test_where_one_account_speaks_for_all_it_says_for_whom() -> None:
    naming = replace(NAMING, signature="alice: ")
    assert text_of("@bob hi", naming=naming) == "alice: @bob@social.example hi"
    assert len(text_of("x" * 500, naming=naming)) == 500


def test_what_is_attached_is_no_text() -> None:
    post = Post(1, 1, "look https://a.example/b.png", None, NOW)
    texts = texts_of(post, CAPS, RULES, NAMING, LINK, NOW, attached=("https://a.example/b.png",))
    assert texts == ("look",)


def test_a_reply_that_goes_alone_says_what_it_answers() -> None:
    post = Post(1, 1, "yes " * 30, None, NOW)
    for max_chars, long in ((500, "link"), (100, "link"), (100, "split")):
        caps, rules = replace(CAPS, max_chars=max_chars), replace(RULES, long=long)
        texts = texts_of(post, caps, rules, NAMING, LINK, NOW, answers="https://b.example/9")
        assert texts is not None
        assert "https://b.example/9" in texts[-1]
        assert all(weight(each, caps) <= max_chars for each in texts)


# --- who sees it ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "targets", "most", "seen"),
    [
        ("public", (), "public", "public"),
        ("unlisted", (), "public", "unlisted"),
        ("public", (2,), "public", "unlisted"),
        ("public", (), "unlisted", "unlisted"),
        ("public", (2,), "private", "private"),
        ("unlisted", (), "private", "private"),
        ("private", (), "public", "private"),
        ("public", (), "direct", "direct"),
    ],
)
def test_never_more_than_what_it_answers(
    rule: str, targets: tuple[int, ...], most: str, seen: str
) -> None:
    rules = replace(RULES, visibility=Visibility(rule))
    post = Post(1, 1, "hello", None, NOW, targets=targets)
    assert visibility_of(post, Send(most=Visibility(most)), rules) == Visibility(seen)

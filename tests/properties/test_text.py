"""core/text.py under any text there is."""

import re
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xmpprelay.core.text import (
    check_length,
    clean,
    clean_line,
    is_blank,
    language_tag,
    message_id,
    noise,
    parse_message_id,
    parse_short_id,
    short_id,
)
from xmpprelay.errors import BadRequest, TooLong

# Any code point, lone surrogates too, and those that have rules of their own more often.
SPECIAL = (
    "\x00\x08\t\n\x0b\x0c\r\x1b\x7f\x85\xa0\xad\u034f\u061c\u200b\u200c\u200d\u200e\u200f\u2028"
    "\u2029\u202a\u202e\u2060\u2066\u2069\u3000\ufe0f\ufeff\ufff9\ufffd\ufffe\uffff\ud800\udfff"
    "\U0001f3f4\U0001f469\U000e0001\U000e0067\U000e0062\U000e007f\u0915\u094d\u0627a #<&\"'"
)
ANY_CHAR = st.one_of(st.characters(exclude_categories=()), st.sampled_from(SPECIAL))
ANY_TEXT = st.text(ANY_CHAR)

XML_CHAR = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
HIDING = re.compile("[\u202a-\u202e\u2066-\u2069\u200b\u2060\ufeff]")


@given(ANY_TEXT)
@example("\r\u200b\n")
@example("\U0001f3f4\u200d\u200d\U000e0067\U000e007f")
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert clean_line(clean_line(text)) == clean_line(text)
    assert clean_line(clean(text)) == clean_line(text)


@given(ANY_TEXT)
def test_clean_text_goes_through_xml_unchanged(text: str) -> None:
    cleaned = clean(text)
    assert XML_CHAR.fullmatch(cleaned)
    body = f"<body>{escape(cleaned)}</body>".encode()
    assert (ElementTree.fromstring(body).text or "") == cleaned


@given(ANY_TEXT)
def test_clean_text_hides_nothing(text: str) -> None:
    cleaned = clean(text)
    assert not HIDING.search(cleaned)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", cleaned)
    assert "\u200d\u200d" not in cleaned


@given(ANY_TEXT)
def test_cleaning_adds_nothing(text: str) -> None:
    assert len(clean(text)) <= len(text)
    assert set(clean(text)) <= set(text) | {"\n", "\ufffd"}


@given(ANY_TEXT)
def test_a_name_is_one_line(text: str) -> None:
    line = clean_line(text)
    assert line == line.strip()
    assert len(line.splitlines()) <= 1
    assert "  " not in line


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters="\u3164")))
def test_letters_digits_signs_and_spaces_stay(text: str) -> None:
    assert clean(text) == text


@given(ANY_TEXT.map(clean), st.integers(1, 50))
def test_what_passes_is_visible_and_short_enough(text: str, most: int) -> None:
    if is_blank(text):
        with pytest.raises(BadRequest):
            check_length(text, most)
    elif len(text) > most:
        with pytest.raises(TooLong, match=f"{len(text):,} characters"):
            check_length(text, most)
    else:
        check_length(text, most)


@given(st.integers(0, 2**63 - 1))
def test_short_ids_go_round(number: int) -> None:
    text = short_id(number)
    assert parse_short_id(text) == number
    assert parse_short_id(f"#{text.upper()}") == number
    assert parse_message_id(message_id(number, "7h2m9q")) == (number, "7h2m9q")


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_ids_of_one_length_sort_like_their_numbers(one: int, other: int) -> None:
    a, b = short_id(one), short_id(other)
    if len(a) == len(b):
        assert (a < b) == (one < other)
    else:
        assert (len(a) < len(b)) == (one < other)


@given(ANY_TEXT)
def test_no_text_makes_anything_raise(text: str) -> None:
    number = parse_short_id(text)
    assert number is None or 0 <= number < 2**63
    tag = language_tag(text)
    assert tag is None or tag == text
    assert (
        parse_message_id(text) is None or message_id(*(parse_message_id(text) or (0, ""))) == text
    )
    noise(text)

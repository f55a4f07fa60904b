"""What the parts of a profile can be: cleaned, limited, and what is no address on the web."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.profile import LIMITS, Part, checked, fits_words, fitting
from xmpprelay.core.text import clean, clean_line
from xmpprelay.errors import BadRequest, TooLong

TEXTS = (Part.NAME, Part.ABOUT, Part.URL)


@pytest.mark.parametrize(
    ("part", "typed", "shown"),
    [
        (Part.NAME, "  Alice \n Liddell ", "Alice Liddell"),
        (Part.NAME, "\u202eecilA\u200b", "ecilA"),
        (Part.NAME, "\u200f\u2800", ""),
        (Part.ABOUT, "one\r\ntwo\x00", "one\ntwo"),
        (Part.URL, " https://a.example/x?y=1#z ", "https://a.example/x?y=1#z"),
        (Part.URL, "HTTP://[::1]:8080", "HTTP://[::1]:8080"),
        (Part.URL, "", ""),
    ],
)
def test_a_part_is_cleaned(part: Part, typed: str, shown: str) -> None:
    assert checked(part, typed) == fitting(part, typed) == shown


@pytest.mark.parametrize(
    "typed",
    [
        "example.org", "//example.org", "ftp://a.b", "javascript:alert(1)", "https://",
        "https:///path", "https://a b", "https://a.b/<script>", 'https://a.b/"', "data:text/html,x",
        "xhttps://a.b", "https://a.b\nhttps://c.d", "https://?x",
    ],
)  # fmt: skip
def test_what_is_no_address_on_the_web_is_refused_or_none(typed: str) -> None:
    with pytest.raises(BadRequest):
        checked(Part.URL, typed)
    assert fitting(Part.URL, typed) == ""


@pytest.mark.parametrize("part", TEXTS)
def test_what_is_too_long_is_refused_or_cut(part: Part) -> None:
    begin = "https://a.b/" if part is Part.URL else ""
    most = begin.ljust(LIMITS[part], "x")
    assert checked(part, most) == fitting(part, most) == most
    with pytest.raises(TooLong, match=f"{LIMITS[part]} characters"):
        checked(part, most + "x")
    cut = fitting(part, most + "x")
    assert cut == ("" if part is Part.URL else most[:-1] + "…")


@given(st.sampled_from(TEXTS), st.text())
def test_whatever_is_shown_elsewhere_fits(part: Part, text: str) -> None:
    shown = fitting(part, text)
    assert len(shown) <= LIMITS[part]
    assert shown == fitting(part, shown), "a second time changes nothing"
    assert shown == (clean(shown) if part is Part.ABOUT else clean_line(shown))
    if shown:
        assert checked(part, shown) == shown


def test_words_are_found_in_handle_and_name_without_case() -> None:
    assert fits_words(["ali", "strasse"], "alice", "STRASSE 7")
    assert fits_words(["strasse"], "alice", "Straße")
    assert not fits_words(["ali", "bob"], "alice", "Strasse")

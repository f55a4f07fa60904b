"""Cards and pictures as XML: what is made, and what of anybody's XML is read."""

import base64
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.profile import NO_PROFILE, Part, Picture, Profile, Shown, fitting
from xmpprelay.errors import BadRequest
from xmpprelay.pictures import MOST_BYTES, PictureTooBig
from xmpprelay.xmpp.cards import (
    VCARD,
    VCARD4,
    VCARD_UPDATE,
    avatar_metadata,
    nick,
    photo_hash,
    photo_update,
    picture_in,
    read_base64,
    read_vcard4,
    texts_in,
    vcard,
    vcard4,
)
from xmpprelay.xmpp.stanzas import serialise

PICTURE = Picture(b"\x89PNG", 3, 2)
SHOWN = Shown(PICTURE.sha1, 3, 2, 4)


def card(inside: str) -> Element:
    return fromstring(f"<vCard xmlns='{VCARD}'>{inside}</vCard>")


def card4(inside: str) -> Element:
    return fromstring(f"<vcard xmlns='{VCARD4}'>{inside}</vcard>")


# Made


def test_a_card_says_what_there_is_and_nothing_else() -> None:
    whole = vcard("alice", "alice@relay", Profile("Ally", "Me.", "https://a.b", SHOWN), PICTURE)
    assert [child.tag.rpartition("}")[2] for child in whole] == [
        "FN", "NICKNAME", "PHOTO", "URL", "JABBERID", "DESC",
    ]  # fmt: skip
    assert picture_in(whole) == PICTURE.data
    bare = vcard("alice", "alice@relay", NO_PROFILE, None)
    assert [(child.tag.rpartition("}")[2], child.text) for child in bare] == [
        ("FN", "alice"), ("NICKNAME", "alice"), ("JABBERID", "alice@relay"),
    ]  # fmt: skip
    assert nick("alice", NO_PROFILE).text == "alice"
    assert len(avatar_metadata(None)) == 0


def parts(part: Part) -> st.SearchStrategy[str]:
    return st.text().map(lambda text: fitting(part, text))


@given(st.builds(Profile, name=parts(Part.NAME), about=parts(Part.ABOUT)))
def test_what_is_made_is_read_again(profile: Profile) -> None:
    whole = fromstring(serialise(vcard("alice", "a@b", profile, None)))
    newer = fromstring(serialise(vcard4("alice", "a@b", profile)))
    expected = {Part.NAME: profile.name or "alice", Part.ABOUT: profile.about, Part.URL: ""}
    assert texts_in(whole) == read_vcard4(newer)[0] == expected


@pytest.mark.parametrize("shown", [SHOWN, None])
def test_a_presence_tells_which_picture_there_is(shown: Shown | None) -> None:
    presence = Element("presence")
    presence.append(photo_update(shown))
    assert photo_hash(presence) == ("" if shown is None else PICTURE.sha1)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("", None),
        (f"<x xmlns='{VCARD_UPDATE}'/>", None),
        (f"<x xmlns='{VCARD_UPDATE}'><photo/></x>", ""),
        (f"<x xmlns='{VCARD_UPDATE}'><photo> ABC </photo></x>", "abc"),
        (f"<x xmlns='{VCARD_UPDATE}'><photo>{'f' * 900}</photo></x>", "f" * 40),
        (f"<x xmlns='other'><photo>abc</photo></x><x xmlns='{VCARD_UPDATE}'/>", None),
    ],
)
def test_the_hash_of_a_presence(inside: str, expected: str | None) -> None:
    assert photo_hash(fromstring(f"<presence>{inside}</presence>")) == expected


# Read


@pytest.mark.parametrize(
    ("inside", "known_as", "name"),
    [
        ("<FN>Alice Liddell</FN>", "", "Alice Liddell"),
        ("<FN>Alice Liddell</FN><NICKNAME>Ally</NICKNAME>", "", "Ally"),
        ("<FN>Alice Liddell</FN><NICKNAME> </NICKNAME>", "", "Alice Liddell"),
        ("<FN>New</FN><NICKNAME>Ally</NICKNAME>", "Ally", "New"),
        ("<FN>Ally</FN><NICKNAME>New</NICKNAME>", "Ally", "New"),
        ("<FN>Ally</FN><NICKNAME>Ally</NICKNAME>", "Ally", "Ally"),
        ("<N><GIVEN>Alice</GIVEN></N>", "Ally", ""),
    ],
)
def test_of_two_names_it_is_the_one_that_was_changed(inside: str, known_as: str, name: str) -> None:
    assert texts_in(card(inside), known_as)[Part.NAME] == name


def test_what_prosody_makes_of_a_description_is_read() -> None:
    assert texts_in(card("<NOTE>Me.</NOTE>"))[Part.ABOUT] == "Me."
    assert texts_in(card("<NOTE>x</NOTE><DESC>Me.</DESC>"))[Part.ABOUT] == "Me."


def test_a_picture_elsewhere_is_none() -> None:
    assert picture_in(card("<PHOTO><EXTVAL>http://a.b/c.png</EXTVAL></PHOTO>")) is None
    assert picture_in(card("<PHOTO><BINVAL/></PHOTO>")) is None
    for uri in ("https://a.b/c.png", "data:text/html;base64,AAAA", "data:image/png,AAAA", ""):
        assert read_vcard4(card4(f"<photo><uri>{uri}</uri></photo>"))[1] is None


def test_a_picture_in_the_card_is_read_with_line_feeds_in_it() -> None:
    data = base64.encodebytes(bytes(200)).decode()
    assert picture_in(card(f"<PHOTO><BINVAL>\n{data}</BINVAL></PHOTO>")) == bytes(200)
    uri = f"data:image/png;base64,{data}"
    assert read_vcard4(card4(f"<photo><uri>{uri}</uri></photo>"))[1] == bytes(200)


@pytest.mark.parametrize("text", ["???", "AAA", "ÄÄÄÄ", "AA==AA=="])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="Base64"):
        read_base64(text)


def test_a_picture_with_the_most_bytes_is_read_and_a_larger_one_is_not_looked_at() -> None:
    assert len(read_base64(base64.encodebytes(bytes(MOST_BYTES)).decode())) == MOST_BYTES
    with pytest.raises(PictureTooBig):
        read_base64("?" * (MOST_BYTES * 2))


@given(st.text(), st.text(max_size=40))
def test_whatever_stands_in_a_card_it_is_texts(text: str, known_as: str) -> None:
    root = Element(f"{{{VCARD}}}vCard")
    for name in ("FN", "NICKNAME", "DESC", "URL", "JABBERID"):
        child = Element(f"{{{VCARD}}}{name}")
        child.text = text
        root.append(child)
    assert all(isinstance(each, str) for each in texts_in(root, known_as).values())

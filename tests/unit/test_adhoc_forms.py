"""Commands as forms: which fields there are, and what a filled form means (XEP-0050, S15)."""

from datetime import time, timedelta

import pytest

from xmpprelay.commands.forms import Field, Sort, about_a_person, fields_of, read_form
from xmpprelay.commands.grammar import Command, parse
from xmpprelay.commands.values import (
    Domain,
    Group,
    Handle,
    Jid,
    Member,
    Phrase,
    PostId,
    Rate,
    Tag,
    Value,
)
from xmpprelay.commands.verbs import BY_WORD, VERBS
from xmpprelay.errors import BadCommand

HOUR = timedelta(hours=1)
BOB = Handle("bob")


class Names:
    registered = True

    def has_handle(self, handle: str) -> bool:
        return handle in ("bob", "bbc")

    def has_group(self, name: str) -> bool:
        return name == "news"

    def knows_jid(self, jid: str) -> bool:
        return False


def read(verb: str, here: str | None = None, **values: str) -> Command:
    return read_form(BY_WORD[verb], values, Names(), here)


FILLED: list[tuple[str, dict[str, str], dict[str, Value]]] = [
    ("follow", {"who": "bob"}, {"who": BOB}),
    ("follow", {"who": " @Bob "}, {"who": BOB}),
    ("follow", {"who": "carol@example.org"}, {"who": Jid("carol@example.org")}),
    ("last", {"who": "bob", "n": ""}, {"who": BOB}),
    ("last", {"who": "bob", "n": "7"}, {"who": BOB, "n": 7}),
    ("show", {"id": "k3f"}, {"id": PostId(19567)}),
    ("show", {"id": "#k3f"}, {"id": PostId(19567)}),
    ("find", {"what": "cats and dogs"}, {"what": Phrase("cats and dogs")}),
    ("find", {"what": "cats"}, {"what": Phrase("cats")}),
    ("find", {"what": "#cats"}, {"what": Tag("cats")}),
    ("block", {"target": "*.spam.org"}, {"target": Domain("spam.org", subdomains=True)}),
    ("mute", {"target": "bob"}, {"target": BOB}),
    ("mute", {"target": "bob", "span": "1h"}, {"target": BOB, "span": HOUR}),
    ("mute", {"target": "bob", "scope": "all"}, {"target": BOB, "scope": "all"}),
    ("mute", {"target": "no more spoilers"}, {"target": Phrase("no more spoilers")}),
    ("protect", {"setting": "1"}, {"setting": "on"}),
    ("protect", {"setting": "false"}, {"setting": "off"}),
    ("max", {"who": "bbc", "rate": "4/h"}, {"who": Handle("bbc"), "rate": Rate(4, HOUR)}),
    ("digest", {"what": "news", "span": ""}, {"what": Group("news")}),
    (
        "digest",
        {"what": "bbc", "how": "daily", "at": "08:00"},
        {"what": Handle("bbc"), "how": "daily", "at": time(8)},
    ),
    ("digest", {"what": "bbc", "how": "off"}, {"what": Handle("bbc"), "how": "off"}),
    (
        "group",
        {"group": "sport", "members": "bob\n-bbc"},
        {"group": Group("sport"), "members": (Member(BOB), Member(Handle("bbc"), remove=True))},
    ),
    ("group", {"group": "news", "members": ""}, {"group": Group("news"), "members": ()}),
    ("profile", {}, {}),
    ("profile", {"field": "name", "text": "Bob"}, {"field": "name", "text": Phrase("Bob")}),
    ("profile", {"field": "bot", "setting": "on"}, {"field": "bot", "setting": "on"}),
    ("profile", {"field": "about", "text": "off"}, {"field": "about", "text": "off"}),
    ("profile", {"field": "url", "text": "https://a.b"}, {"field": "url", "text": "https://a.b"}),
    ("profile", {"field": "picture", "setting": "off"}, {"field": "picture", "setting": "off"}),
    ("profile", {"field": "own"}, {"field": "own"}),
    ("tz", {"zone": "Europe/Berlin"}, {"zone": "Europe/Berlin"}),
    ("catchup", {"n": "5"}, {"n": 5}),
    ("catchup", {"n": "digest"}, {"n": "digest"}),
    ("leave-relay", {"setting": "yes"}, {"setting": "yes"}),
]


@pytest.mark.parametrize(("verb", "values", "arguments"), FILLED)
def test_a_filled_form_means_the_command(
    verb: str, values: dict[str, str], arguments: dict[str, Value]
) -> None:
    command = read(verb, **values)
    assert (command.verb, dict(command.arguments)) == (verb, arguments)


def test_a_form_means_the_same_as_the_line() -> None:
    for line, values in (
        ("last bob 5", {"who": "bob", "n": "5"}),
        ("mute bob boosts", {"target": "bob", "scope": "boosts"}),
        ("digest news daily 7:30", {"what": "news", "how": "daily", "at": "7:30"}),
        ('find "two words"', {"what": "two words"}),
        ("d bob psst\nand more", {"who": "bob", "text": "psst\nand more"}),
    ):
        typed = parse(line, Names())
        assert isinstance(typed, Command)
        filled = read(typed.verb, **values)
        assert (filled.arguments, filled.text) == (typed.arguments, typed.text)


@pytest.mark.parametrize(
    ("verb", "values"),
    [
        ("follow", {}),
        ("follow", {"who": "  "}),
        ("follow", {"who": "a b c"}),
        ("last", {"n": "5"}),
        ("last", {"who": "bob", "n": "51"}),
        ("last", {"who": "bob", "n": "five"}),
        ("mute", {"target": "bob", "span": "1h", "scope": "all"}),
        ("mute", {"target": "bob", "span": "367d"}),
        ("digest", {"what": "bbc", "how": "daily"}),
        ("digest", {"what": "bbc", "at": "08:00"}),
        ("max", {"who": "bbc"}),
        ("replies", {"setting": "some"}),
        ("leave-relay", {}),
        ("leave-relay", {"setting": "no"}),
        ("d", {"who": "bob", "text": " \n "}),
        ("d", {"text": "psst"}),
        ("show", {"id": "what?"}),
        ("like", {}),
        ("group", {"members": "bob"}),
        ("profile", {"field": "name"}),
        ("profile", {"field": "url", "text": "example.org"}),
        ("profile", {"field": "picture", "setting": "on"}),
        ("profile", {"field": "own", "text": "me"}),
        ("on+", {"what": "nogroup"}),
        ("join", {}),
        ("follow", {"who": "b" * 5000}),
    ],
)
def test_a_form_that_is_half_filled_or_wrong_gives_a_sentence(
    verb: str, values: dict[str, str]
) -> None:
    with pytest.raises(BadCommand) as refused:
        read(verb, **values)
    assert refused.value.sentence.endswith(".")
    assert len(refused.value.sentence) < 300


def test_fields_that_no_slot_has_are_left_aside() -> None:
    assert read("follow", who="bob", FORM_TYPE="x", nonsense="1").arguments == {"who": BOB}


def test_every_verb_has_fields_of_fitting_types() -> None:
    sorts = {verb.name: {f.name: f.sort for f in fields_of(verb)} for verb in VERBS}
    assert sorts["ping"] == sorts["followers"] == {}
    assert sorts["protect"] == {"setting": Sort.SWITCH}
    assert sorts["replies"] == {"setting": Sort.CHOICE}
    assert sorts["d"] == {"who": Sort.LINE, "text": Sort.LINES}
    assert sorts["group"] == {"group": Sort.LINE, "members": Sort.LINES}
    assert sorts["profile"] == {
        "field": Sort.CHOICE,
        "text": Sort.LINE,
        "setting": Sort.CHOICE,  # a boolean would always be filled in
    }
    assert sorts["on+"] == {"what": Sort.CHOICE}


def test_what_is_required_is_what_every_form_of_the_verb_needs() -> None:
    required = {v.name: {f.name for f in fields_of(v) if f.required} for v in VERBS}
    assert required["last"] == {"who"}
    assert required["mute"] == {"target"}
    assert required["digest"] == {"what"}
    assert required["d"] == {"who", "text"}
    assert required["report"] == {"id"}
    assert required["group"] == {"group"}
    assert required["profile"] == required["timeline"] == set()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"field": "url", "text": "example.org"}, "begins with https://"),
        ({"field": "picture", "setting": "on"}, "Fill in the fields of one of these"),
        ({"field": "name"}, "Fill in the fields of one of these"),
        ({"field": "nonsense", "text": "x"}, "`nonsense` does not fit"),
    ],
)
def test_what_is_said_is_of_the_form_that_was_meant(values: dict[str, str], says: str) -> None:
    with pytest.raises(BadCommand) as refused:
        read("profile", **values)
    assert says in refused.value.sentence


def test_a_field_of_several_forms_offers_what_any_of_them_takes() -> None:
    options = {field.name: field.options for field in fields_of(BY_WORD["profile"])}
    assert options["field"] == ("name", "about", "url", "bot", "picture", "own")
    assert options["setting"] == ("on", "off")


def test_groups_are_offered_for_choice() -> None:
    [field] = fields_of(BY_WORD["on+"], groups=["news", "sport"])
    assert field.options == ("news", "sport")


def test_at_an_author_that_author_is_filled_in() -> None:
    assert fields_of(BY_WORD["follow"], "bob") == [
        Field("who", Sort.LINE, "Who: bob, @bob or carol@example.org", required=True, value="@bob")
    ]
    [what, *_] = fields_of(BY_WORD["digest"], "bob")
    assert what.value == "@bob"
    [post] = fields_of(BY_WORD["like"], "bob")
    assert not post.required
    assert read("like", here="bob").arguments == {}
    assert read("like", here="bob", id="k3f").arguments == {"id": PostId(19567)}


def test_commands_at_an_author_are_those_about_a_person() -> None:
    names = {verb.name for verb in VERBS if about_a_person(verb)}
    assert {"follow", "d", "last", "whois", "mute", "block", "like", "approve"} <= names
    assert not names & {"ping", "join", "timeline", "replies", "leave-relay", "show", "find"}


@pytest.mark.parametrize("verb", ["leave-relay", "join", "block", "follow", "d", "group"])
def test_a_form_sent_back_as_it_came_does_nothing(verb: str) -> None:
    values = {field.name: field.value for field in fields_of(BY_WORD[verb])}
    with pytest.raises(BadCommand):
        read(verb, **values)

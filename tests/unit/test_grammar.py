"""commands/: every command in every form, what is a post, and what is asked about (S15)."""

import textwrap
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path

import pytest

from xmpprelay.commands.grammar import Ask, Command, Problem, Text, parse, render
from xmpprelay.commands.run import VERBS as FUNCTIONS
from xmpprelay.commands.values import (
    Code,
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
from xmpprelay.commands.verbs import BY_WORD, VERBS, help_text, help_verb
from xmpprelay.commands.words import plain

HANDLES = frozenset({"alice", "bob", "carol", "dave", "bbc", "cnn", "night_owl", "sport"})
ALICE, BOB, CAROL = Handle("alice"), Handle("bob"), Handle("carol")
K3F = PostId(19567)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class World:
    """Who and what there is; `sport` is both a handle and a group."""

    registered: bool = True

    def has_handle(self, handle: str) -> bool:
        return handle in HANDLES

    def has_group(self, name: str) -> bool:
        return name in {"news", "sport", "família"}

    def knows_jid(self, jid: str) -> bool:
        return jid == "dave@localhost"


WORLD = World()
NOBODY_YET = World(registered=False)

# Line, verb, arguments; every form of every verb.
COMMANDS: list[tuple[str, str, dict[str, Value]]] = [
    ("help", "help", {}),
    ("help follow", "help", {"verb": "follow"}),
    ("help F", "help", {"verb": "f"}),
    ("join @al", "join", {"handle": "al"}),
    ("leave-relay yes", "leave-relay", {"setting": "yes"}),
    ("follow bob", "follow", {"who": BOB}),
    ("f @bob", "follow", {"who": BOB}),
    ("follow @nobody", "follow", {"who": Handle("nobody")}),
    ("follow Carol@Other.org", "follow", {"who": Jid("carol@other.org")}),
    ("follow @carol@other.org", "follow", {"who": Jid("carol@other.org")}),
    ("follow dave@localhost", "follow", {"who": Jid("dave@localhost")}),
    ("unfollow bob", "unfollow", {"who": BOB}),
    ("u bob", "unfollow", {"who": BOB}),
    ("leave bob", "unfollow", {"who": BOB}),
    ("following", "following", {}),
    ("followers", "followers", {}),
    ("lose bob", "lose", {"who": BOB}),
    ("approve bob", "approve", {"who": BOB}),
    ("deny bob", "deny", {"who": BOB}),
    ("protect on", "protect", {"setting": "on"}),
    ("protect OFF", "protect", {"setting": "off"}),
    ("requests", "requests", {}),
    ("boost #k3f", "boost", {"id": K3F}),
    ("rt #K3F", "boost", {"id": K3F}),
    ("repeat #k3f", "boost", {"id": K3F}),
    ("like #k3f", "like", {"id": K3F}),
    ("fav #k3f", "like", {"id": K3F}),
    ("like #Oil", "like", {"id": PostId(33)}),
    ("del", "del", {}),
    ("del #k3f", "del", {"id": K3F}),
    ("report #k3f", "report", {"id": K3F}),
    ("block bob", "block", {"target": BOB}),
    ("block carol@other.org", "block", {"target": Jid("carol@other.org")}),
    ("block spam.org", "block", {"target": Domain("spam.org")}),
    ("block *.Spam.org", "block", {"target": Domain("spam.org", subdomains=True)}),
    ("unblock *.spam.org", "unblock", {"target": Domain("spam.org", subdomains=True)}),
    ("blocks", "blocks", {}),
    ("mute bob", "mute", {"target": BOB}),
    ("mute bob 2h", "mute", {"target": BOB, "span": 2 * HOUR}),
    ("mute bob 90m", "mute", {"target": BOB, "span": timedelta(minutes=90)}),
    ("mute #Tag 3D", "mute", {"target": Tag("tag"), "span": 3 * DAY}),
    ('mute "two words"', "mute", {"target": Phrase("two words")}),
    ('mute "two words" 3d', "mute", {"target": Phrase("two words"), "span": 3 * DAY}),
    ("mute bob boosts", "mute", {"target": BOB, "scope": "boosts"}),
    ("mute bob all", "mute", {"target": BOB, "scope": "all"}),
    ("unmute bob", "unmute", {"target": BOB}),
    ('unmute "two words"', "unmute", {"target": Phrase("two words")}),
    ("mutes", "mutes", {}),
    ("group news", "group", {"group": Group("news"), "members": ()}),
    ("group news bbc", "group", {"group": Group("news"), "members": (Member(Handle("bbc")),)}),
    (
        "group news -cnn",
        "group",
        {"group": Group("news"), "members": (Member(Handle("cnn"), True),)},
    ),
    (
        "group fresh bbc -@cnn carol@other.org",
        "group",
        {
            "group": Group("fresh"),
            "members": (
                Member(Handle("bbc")),
                Member(Handle("cnn"), remove=True),
                Member(Jid("carol@other.org")),
            ),
        },
    ),
    (
        "group news @-dash@other.org --dash@other.org",
        "group",
        {
            "group": Group("news"),
            "members": (
                Member(Jid("-dash@other.org")),
                Member(Jid("-dash@other.org"), remove=True),
            ),
        },
    ),
    ("groups", "groups", {}),
    ("off", "off", {}),
    ("off 3h", "off", {"span": 3 * HOUR}),
    ("off news", "off", {"what": Group("news")}),
    ("off news 3h", "off", {"what": Group("news"), "span": 3 * HOUR}),
    ("off bbc", "off", {"what": Handle("bbc")}),
    ("off sport", "off", {"what": Group("sport")}),
    ("off @sport", "off", {"what": Handle("sport")}),
    ("off família", "off", {"what": Group("família")}),
    ("on", "on", {}),
    ("on news", "on", {"what": Group("news")}),
    ("on bbc", "on", {"what": Handle("bbc")}),
    ("on+", "on+", {}),
    ("on+ news", "on+", {"what": Group("news")}),
    ("max bbc 4/h", "max", {"who": Handle("bbc"), "rate": Rate(4, HOUR)}),
    ("max @bbc 10/D", "max", {"who": Handle("bbc"), "rate": Rate(10, DAY)}),
    ("digest bbc", "digest", {"what": Handle("bbc")}),
    ("digest news 1h", "digest", {"what": Group("news"), "span": HOUR}),
    ("digest bbc daily 08:00", "digest", {"what": Handle("bbc"), "how": "daily", "at": time(8)}),
    ("digest bbc daily 8:05", "digest", {"what": Handle("bbc"), "how": "daily", "at": time(8, 5)}),
    ("digest bbc off", "digest", {"what": Handle("bbc"), "how": "off"}),
    ("last bob", "last", {"who": BOB}),
    ("last bob 5", "last", {"who": BOB, "n": 5}),
    ("get bob 50", "last", {"who": BOB, "n": 50}),
    ("timeline", "timeline", {}),
    ("timeline 10", "timeline", {"n": 10}),
    ("more", "more", {}),
    ("more bob", "more", {"who": BOB}),
    ("skip", "skip", {}),
    ("show #k3f", "show", {"id": K3F}),
    ("why #k3f", "why", {"id": K3F}),
    ("whois bob", "whois", {"who": BOB}),
    ("find #tag", "find", {"what": Tag("tag")}),
    ('find "some words"', "find", {"what": Phrase("some words")}),
    ("replies all", "replies", {"setting": "all"}),
    ("replies following", "replies", {"setting": "following"}),
    ("replies none", "replies", {"setting": "none"}),
    ("mentions all", "mentions", {"setting": "all"}),
    ("mentions following", "mentions", {"setting": "following"}),
    ("mentions none", "mentions", {"setting": "none"}),
    ("dms followed", "dms", {"setting": "followed"}),
    ("dms all", "dms", {"setting": "all"}),
    ("dms none", "dms", {"setting": "none"}),
    ("mode bob author", "mode", {"who": BOB, "mode": "author"}),
    ("mode all home", "mode", {"who": "all", "mode": "home"}),
    ("delivery chat", "delivery", {"setting": "chat"}),
    ("delivery headline", "delivery", {"setting": "headline"}),
    ("archive on", "archive", {"setting": "on"}),
    ("archive off", "archive", {"setting": "off"}),
    ("window dm", "window", {"setting": "dm"}),
    ("window reply", "window", {"setting": "reply"}),
    ("window ask", "window", {"setting": "ask"}),
    ("catchup 0", "catchup", {"n": 0}),
    ("catchup 100", "catchup", {"n": 100}),
    ("catchup digest", "catchup", {"n": "digest"}),
    ("quiet on", "quiet", {"setting": "on"}),
    ("quiet off", "quiet", {"setting": "off"}),
    ("ids on", "ids", {"setting": "on"}),
    ("ids off", "ids", {"setting": "off"}),
    ("lang pt-BR", "lang", {"language": "pt-BR"}),
    ("tz Europe/Berlin", "tz", {"zone": "Europe/Berlin"}),
    ("tz utc", "tz", {"zone": "UTC"}),
    ("tz +05:30", "tz", {"zone": "+05:30"}),
    ("link", "link", {}),
    ("link mastodon.social", "link", {"to": Domain("mastodon.social")}),
    ("link https://Mastodon.social/", "link", {"to": Domain("mastodon.social")}),
    ("link 4xYz-q_0123456789abc", "link", {"to": Code("4xYz-q_0123456789abc")}),
    (
        "link https://social.example/oauth/authorize/native?code=4xYz-q_0123456789abc&state=1",
        "link",
        {"to": Code("4xYz-q_0123456789abc")},
    ),
    ("link private", "link", {"to": "private"}),
    ("link Public", "link", {"to": "public"}),
    ("unlink", "unlink", {}),
    ("pending", "pending", {}),
    ("drop #k3f", "drop", {"id": K3F}),
    ("drop all", "drop", {"id": "all"}),
    ("resend #k3f", "resend", {"id": K3F}),
    ("expire 2h", "expire", {"span": 2 * HOUR}),
    ("queue", "queue", {}),
    ("status", "status", {}),
    ("stats", "stats", {}),
    ("source pep", "source", {"setting": "pep"}),
    ("source off", "source", {"setting": "off"}),
    ("profile", "profile", {}),
    ('profile name "Alice B."', "profile", {"field": "name", "text": Phrase("Alice B.")}),
    ('profile about "Bikes & tea"', "profile", {"field": "about", "text": Phrase("Bikes & tea")}),
    ("profile about off", "profile", {"field": "about", "text": "off"}),
    ('profile name "off"', "profile", {"field": "name", "text": Phrase("off")}),
    ("profile url https://a.example", "profile", {"field": "url", "text": "https://a.example"}),
    ('profile url "https://a.example"', "profile", {"field": "url", "text": "https://a.example"}),
    ("profile url off", "profile", {"field": "url", "text": "off"}),
    ("profile bot on", "profile", {"field": "bot", "setting": "on"}),
    ("profile picture off", "profile", {"field": "picture", "setting": "off"}),
    ("profile own", "profile", {"field": "own"}),
    ("feed", "feed", {}),
    ("feed new", "feed", {"what": "new"}),
    ("feed private", "feed", {"what": "private"}),
    ("feed public", "feed", {"what": "public"}),
    ("export", "export", {}),
    ("ping", "ping", {}),
]
WITH_TEXT: list[tuple[str, str, dict[str, Value], str]] = [
    ("d bob see you at 8", "d", {"who": BOB}, "see you at 8"),
    ("dm @bob hi", "d", {"who": BOB}, "hi"),
    ("PM Bob hi", "d", {"who": BOB}, "hi"),
    ("d carol@other.org hi", "d", {"who": Jid("carol@other.org")}, "hi"),
    ("d bob one\ntwo\n\nthree", "d", {"who": BOB}, "one\ntwo\n\nthree"),
    ("d bob\nhi", "d", {"who": BOB}, "hi"),
    ("re #k3f thanks,  bob", "re", {"id": K3F}, "thanks,  bob"),
    ("re #k3f thanks\nbob", "re", {"id": K3F}, "thanks\nbob"),
    ("edit #k3f new text", "edit", {"id": K3F}, "new text"),
    ("edit #k3f new\ntext", "edit", {"id": K3F}, "new\ntext"),
    ("report #k3f this is spam", "report", {"id": K3F}, "this is spam"),
    ("report #k3f this\nis spam", "report", {"id": K3F}, "this\nis spam"),
]
ALL = [(*row, "") for row in COMMANDS] + WITH_TEXT


@pytest.mark.parametrize(("line", "verb", "arguments", "text"), ALL)
def test_commands(line: str, verb: str, arguments: dict[str, Value], text: str) -> None:
    assert parse(line, WORLD) == Command(verb, arguments, text)


@pytest.mark.parametrize(("line", "verb", "arguments", "text"), ALL)
def test_forced_commands(line: str, verb: str, arguments: dict[str, Value], text: str) -> None:
    assert parse(f":{line}", WORLD) == Command(verb, arguments, text, forced=True)
    assert parse(f": {line}", WORLD) == Command(verb, arguments, text, forced=True)


@pytest.mark.parametrize(("line", "verb", "arguments", "text"), ALL)
def test_a_command_written_back_reads_the_same(
    line: str, verb: str, arguments: dict[str, Value], text: str
) -> None:
    for command in (Command(verb, arguments, text), Command(verb, arguments, text, forced=True)):
        if verb == "join" and not command.forced:
            continue  # somebody who has a handle must mark or force it
        assert parse(render(command), WORLD) == command


@pytest.mark.parametrize(("line", "verb", "arguments", "text"), ALL)
def test_case_and_spaces_make_no_difference(
    line: str, verb: str, arguments: dict[str, Value], text: str
) -> None:
    first, *others = line.split(" ")
    for space in ("  ", "\t", "\u00a0", "\u3000", "\u2003"):
        spaced = space.join([first.upper(), *others]) if "\n" not in line else line
        assert parse(f"{spaced}{space}", WORLD) == (
            Command(verb, arguments, text.replace(" ", space) if "\n" not in line else text)
        )


def test_the_table_covers_every_form_and_every_word() -> None:
    tried = {(verb, frozenset(arguments)) for _, verb, arguments, _ in ALL}
    there = {
        (verb.name, frozenset(slot.name for slot in slots))
        for verb in VERBS
        for _, slots in verb.patterns
    }
    assert there == tried
    assert {line.split()[0].lower() for line, *_ in ALL} == set(BY_WORD)


@pytest.mark.parametrize(
    "line",
    ["“two words”", "„two words“", "«two words»", "« two words »", "”two words”", '"two  words"'],
)
def test_quotation_marks_of_any_keyboard(line: str) -> None:
    assert parse(f"mute {line} 3d", WORLD) == Command(
        "mute", {"target": Phrase("two words"), "span": 3 * DAY}
    )


@pytest.mark.parametrize(
    "line",
    [
        "ｆｏｌｌｏｗ　ｂｏｂ",
        "follow ＠bob",
        "\u200ffollow bob",
        "follow \u200ebob",
        "：follow @bob",
    ],
)
def test_what_keyboards_add_unseen(line: str) -> None:
    command = parse(line, WORLD)
    assert isinstance(command, Command)
    assert (command.verb, command.arguments) == ("follow", {"who": BOB})


def test_a_word_too_long_for_anything_is_not_normalised() -> None:
    assert plain("ａ" * 256) == "a" * 256
    assert plain("ａ" * 257) == "ａ" * 257  # else a stranger could stop the relay for seconds


class TestPosts:
    @pytest.mark.parametrize(
        "line",
        [
            "hello",
            "follow the money",
            "follow bob please",
            "help me",
            "block bob and carol",
            "like this",
            "feed me",
            "more bob less carol",
            "mute that 2h",
            "mute that 99999d",
            "mute 2h",
            "last bob five",
            "max bbc 4 per hour",
            "digest bbc daily at 8",
            "group news is good",
            "group fresh -bbc nobody",
            "group fresh -bbc -cnn",
            'find "this or that',
            "find a needle",
            "link me to it",
            "lang barrier",
            "status quo",
            "re your mail",
            "re k3f thanks a lot",
            "del it",
            "follow bob, he is great",
            "block a.b.",
            "block 3.14",
            "follow carol@other.org/phone",
            "mode all the things",
            "follow 12",
            "/follow bob today",
            "/me follows bob",
            "@bob hi",
            "follow\nbob",
            "follow bob\nhe is great",
            "off\n3h",
            "last\nnight",
            "re\n#k3f",
            "help\n",
        ],
    )
    def test_is_posted_as_it_is(self, line: str) -> None:
        if line == "help\n":  # white space at the end is none of the text
            assert parse(line, WORLD) == Command("help")
        else:
            assert parse(line, WORLD) == Text(line)

    @pytest.mark.parametrize(
        ("line", "text"),
        [("\\follow bob", "follow bob"), (" follow bob", "follow bob"), ("\\d bob hi", "d bob hi"),
         ("\\ help", "help"), ("\u3000@bob hi", "@bob hi"), ("\\\\o/", "\\o/"), ("\\:x", ":x"),
         ("\n\nhelp", "help"), ("\\~x", "~x"), (" \\o/", "\\o/")],
    )  # fmt: skip
    def test_backslash_or_space_forces_text(self, line: str, text: str) -> None:
        assert parse(line, WORLD) == Text(text, forced=True)

    @pytest.mark.parametrize(
        ("line", "post"),
        [
            ("~hello", Text("hello", relay_only=True)),
            ("~ follow bob", Text("follow bob", relay_only=True)),
            ("~@bob hi", Text("@bob hi", relay_only=True)),
            ("~\\@bob hi", Text("@bob hi", forced=True, relay_only=True)),
            ("~", Text("", relay_only=True)),
        ],
    )
    def test_tilde_is_for_the_relay_only(self, line: str, post: Text) -> None:
        assert parse(line, WORLD) == post

    @pytest.mark.parametrize(
        ("line", "post"),
        [("", Text("")), ("  \n", Text("")), ("\\", Text("", forced=True))],
    )
    def test_nothing_is_an_empty_post(self, line: str, post: Text) -> None:
        assert parse(line, WORLD) == post

    def test_white_space_goes_from_the_ends_only(self) -> None:
        assert parse("one\n\n  two \n", WORLD) == Text("one\n\n  two")

    def test_marks_of_direction_stay_in_a_post(self) -> None:
        assert parse("\u200fשלום!\u200f", WORLD) == Text("\u200fשלום!\u200f")


class TestDirectMessages:
    """A message whose first word is d, dm or pm is sent to one person or refused (S4.3)."""

    @pytest.mark.parametrize(
        "line",
        [
            "d",
            "D",
            "dm\n",
            "pm",
            "d bob",
            "d bob \n ",
            "d bbo my password is x",
            "PM says there will be no election",
            "d @ hi",
            "d 12 hi",
            "d bob: hi",
            "d eve@localhost hi",
            'd "bob" hi',
            "d\nnobody hi",
            " d bob hi",
            "\nd bob hi",
            "\u00a0dm bob hi",
            "\u200f d bob hi",
            "\u200e \u200ed bob hi",
            "~d bob hi",
            "~ \u200fpm bob hi",
            ":d",
            ":pm bob",
            "ｄ　nobody　hi",
        ],
    )
    def test_is_refused_and_never_posted(self, line: str) -> None:
        problem = parse(line, WORLD)
        assert isinstance(problem, Problem)
        assert problem.usage == "d WHO TEXT"

    @pytest.mark.parametrize("line", ["\u200fd bob hi", "ｄ　bob　hi", ":d bob hi", "d\tbob hi"])
    def test_is_sent_however_it_is_typed(self, line: str) -> None:
        command = parse(line, WORLD)
        assert isinstance(command, Command)
        assert (command.verb, command.arguments, command.text) == ("d", {"who": BOB}, "hi")

    def test_a_refusal_names_the_reason_and_the_way_out(self) -> None:
        problem = parse("d bbo hi", WORLD)
        assert isinstance(problem, Problem)
        assert "no @bbo here" in problem.sentence
        assert "`\\`" in problem.sentence

    def test_a_marked_name_need_not_resolve(self) -> None:
        assert parse("d @bbo hi", WORLD) == Command("d", {"who": Handle("bbo")}, "hi")


class TestGuards:
    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("last night", "no @night here; send `\\last night` to post it"),
            ("follow", "`follow` needs more: `follow WHO`; send `\\follow` to post it"),
            ("on fire", "no @fire here; send `\\on fire` to post it"),
            ("on+ holiday", "you have no group holiday; send `\\on+ holiday` to post it"),
            ("like k3f", "an id begins with #, as in `#k3f`; send `\\like k3f` to post it"),
            (
                "blok bob",
                "there is no `blok`: did you mean `block bob`? send `\\blok bob` to post it",
            ),
        ],
    )
    def test_says_what_is_missing_and_how_to_post_it(self, line: str, sentence: str) -> None:
        assert parse(line, WORLD) == Ask(sentence)

    @pytest.mark.parametrize(
        "line",
        [
            "block", "re", "like", "boost", "leave-relay", "max bbc", "mode bob", "re #k3f",
            "edit #k3f", "like kxf", "follow me", "block party", "off work", "group photo",
            "group fresh", "find hello", "mute politics", "follow eve@localhost", "join us",
            "link please", "tz berlin",
            "mode all", "get well", "like 90s", "find 'this'",
        ],
    )  # fmt: skip
    def test_a_verbs_shape_in_two_words_is_asked_about(self, line: str) -> None:
        assert isinstance(parse(line, WORLD), Ask)

    @pytest.mark.parametrize(
        "line",
        [
            "folow bob", "follwo bob", "folllow bob", "blok night", "mutes bob", "lsat bob",
            "gte bob", "lik #k3f", "quite on", "/follow bob", "unfolow @nobody",
        ],
    )  # fmt: skip
    def test_near_to_a_verb_is_asked_about(self, line: str) -> None:
        assert isinstance(parse(line, WORLD), Ask)

    @pytest.mark.parametrize(
        "line",
        ["ok bob", "in bed", "got it", "love you", "snow day", "move on", "folow the money",
         "blok bob now", "blok", "hepl", "black coffee!", "gte lost"],
    )  # fmt: skip
    def test_what_is_not_near_enough_is_posted(self, line: str) -> None:
        assert parse(line, WORLD) == Text(line)

    @pytest.mark.parametrize(
        "line",
        [
            "em bob my password is x",
            "md bob my password is x",
            "dmm @bob hi",
            "msg bob hi",
            "mgs bob, hi",
            "Dn BOB hi\nthere",
            "/d bob hi",
            "/msg bob hi",
            "dm: bob hi",
            "dms bob",
            "gm bob",
            "~em bob hi",
            "ms bob:",
        ],
    )
    def test_near_to_a_direct_message_is_asked_about_at_any_length(self, line: str) -> None:
        ask = parse(line, WORLD)
        assert isinstance(ask, Ask)
        assert "`d bob`" in ask.sentence

    @pytest.mark.parametrize(
        "line",
        ["em nobody is here", "m bob hi", "hum bob hi", "and bob said so", "em", "gm @nobody x"],
    )
    def test_a_direct_message_needs_a_handle_that_is_there(self, line: str) -> None:
        assert parse(line, WORLD) == Text(line)

    def test_a_long_line_is_not_repeated(self) -> None:
        ask = parse(f"whois {'x' * 20}", WORLD)
        assert isinstance(ask, Ask)
        assert "x" * 20 in ask.sentence
        longer = parse(f"follow {'x' * 60}@localhost", WORLD)
        assert isinstance(longer, Ask)
        assert longer.sentence.endswith("put `\\` in front to post it")

    def test_a_new_handle_is_not_taken_by_accident(self) -> None:
        assert parse("join us", NOBODY_YET) == Command("join", {"handle": "us"})
        assert parse("join Renée", NOBODY_YET) == Command("join", {"handle": "Renée"})
        assert parse(":join us", WORLD) == Command("join", {"handle": "us"}, forced=True)
        assert parse("join us at 8", NOBODY_YET) == Text("join us at 8")


class TestRanges:
    @pytest.mark.parametrize(
        "line",
        [
            "mute bob 99999d", "mute bob 0h", f"off {'9' * 5000}m", "max bbc 0/h", "max bbc 1001/m",
            "digest bbc daily 24:00", "digest bbc daily 12:60", "last bob 0", "last bob 101",
            "timeline 101", "catchup 101", "expire 0m", f"timeline {'9' * 5000}", "mute bob 367d",
            f'mute "{"x" * 101}"', ":mute bob 0h",
        ],
    )  # fmt: skip
    def test_a_command_with_a_senseless_number_is_neither_run_nor_posted(self, line: str) -> None:
        problem = parse(line, WORLD)
        assert isinstance(problem, Problem)
        assert problem.usage.startswith(parse_verb(line))
        assert len(problem.sentence) < 200

    @pytest.mark.parametrize("line", ["mute bob 366d", "mute bob 8784h", "mute bob 527040m"])
    def test_a_year_is_sensible(self, line: str) -> None:
        assert parse(line, WORLD) == Command("mute", {"target": BOB, "span": 366 * DAY})


def parse_verb(line: str) -> str:
    return BY_WORD[line.split()[0].removeprefix(":")].name


class TestForced:
    @pytest.mark.parametrize(
        ("line", "command"),
        [
            (":follow night", Command("follow", {"who": Handle("night")}, forced=True)),
            (":find hello", Command("find", {"what": Phrase("hello")}, forced=True)),
            (":find two  words", Command("find", {"what": Phrase("two words")}, forced=True)),
            (':find a "b', Command("find", {"what": Phrase("a b")}, forced=True)),
            (":find #tag", Command("find", {"what": Tag("tag")}, forced=True)),
            (":link secret", Command("link", {"to": Code("secret")}, forced=True)),
            (
                ":group fresh",
                Command("group", {"group": Group("fresh"), "members": ()}, forced=True),
            ),
        ],
    )
    def test_the_shape_is_enough(self, line: str, command: Command) -> None:
        assert parse(line, WORLD) == command

    @pytest.mark.parametrize(
        "line",
        [":", ":folow bob", ":the end", ":follow", ":follow the money",
         ":status quo", ":follow bob\nhi", "::follow bob", ":find", ":lang barrier",
         ":find a\nb", ":like k3f", ":del old", ":link “x”\u200f", ':link "x"\u200f'],
    )  # fmt: skip
    def test_what_does_not_fit_is_an_error_and_never_posted(self, line: str) -> None:
        assert isinstance(parse(line, WORLD), Problem)

    def test_an_unknown_command_names_the_near_one(self) -> None:
        problem = parse(":folow bob", WORLD)
        assert isinstance(problem, Problem)
        assert "`follow`" in problem.sentence
        assert problem.usage == ""


class TestWindowOfOnePerson:
    """S3.3"""

    @pytest.mark.parametrize(
        ("line", "command"),
        [
            ("follow", Command("follow", {"who": BOB})),
            ("unfollow", Command("unfollow", {"who": BOB})),
            ("mute", Command("mute", {"target": BOB})),
            ("mute 2h", Command("mute", {"target": BOB, "span": 2 * HOUR})),
            ("mute all", Command("mute", {"target": BOB, "scope": "all"})),
            ("block", Command("block", {"target": BOB})),
            ("last", Command("last", {"who": BOB})),
            ("last 5", Command("last", {"who": BOB, "n": 5})),
            ("whois", Command("whois", {"who": BOB})),
            ("off", Command("off", {"what": BOB})),
            ("off 3h", Command("off", {"what": BOB, "span": 3 * HOUR})),
            ("digest", Command("digest", {"what": BOB})),
            ("digest daily 08:00", Command("digest", {"what": BOB, "how": "daily", "at": time(8)})),
            ("boost", Command("boost")),
            ("like", Command("like")),
            (":block", Command("block", {"target": BOB}, forced=True)),
        ],
    )
    def test_commands_there_apply_to_that_person(self, line: str, command: Command) -> None:
        assert parse(line, WORLD, here="bob") == command

    @pytest.mark.parametrize(
        ("line", "command"),
        [
            ("follow carol", Command("follow", {"who": CAROL})),
            ("block spam.org", Command("block", {"target": Domain("spam.org")})),
            ("off news 3h", Command("off", {"what": Group("news"), "span": 3 * HOUR})),
            ("mute #tag", Command("mute", {"target": Tag("tag")})),
            ("like #k3f", Command("like", {"id": K3F})),
            ("more", Command("more")),
            ("on", Command("on")),
        ],
    )
    def test_others_are_as_everywhere(self, line: str, command: Command) -> None:
        assert parse(line, WORLD, here="bob") == command
        assert parse(line, WORLD) == command

    def test_text_is_text(self) -> None:
        assert parse("follow the money", WORLD, here="bob") == Text("follow the money")

    def test_a_question_says_whom_the_text_would_go_to(self) -> None:
        ask = parse("on fire", WORLD, here="bob")
        assert isinstance(ask, Ask)
        assert ask.sentence.endswith("to write it to @bob")


# --- Ordinary English ----------------------------------------------------------------------------

CORPUS = [
    line
    for line in Path(__file__).with_name("corpus_english.txt").read_text("utf-8").splitlines()
    if line and line != "#" and not line.startswith("# ")
]

# Of the corpus, what is asked about instead of posted: one or two words each.
ASKED = {
    # a verb's shape, but nobody has that name
    "deny everything", "follow me", "get out", "group hug", "last call", "leave it", "more coffee",
    "mute it", "off topic", "off work", "on fire", "on it", "u there", "u up", "unmute yourself",
    "whois anyway",
    # a mark is missing, or a `:`
    "join us", "link please",
    # near to a verb that would take the second word
    "black coffee", "clock out", "close call", "core memory", "cute cat", "fast food",
    "hollow words", "long day", "lost keys", "move over", "nose bleed", "past midnight",
}  # fmt: skip


def is_direct(line: str) -> bool:
    return line.split()[0].lower() in {"d", "dm", "pm"}


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 300
    assert len(set(CORPUS)) == len(CORPUS)
    assert sum(line.split()[0].lower().strip(".,:!?") in BY_WORD for line in CORPUS) >= 150


@pytest.mark.parametrize("world", [WORLD, NOBODY_YET], ids=["registered", "stranger"])
def test_ordinary_english_is_never_executed(world: World) -> None:
    executed = {line for line in CORPUS if isinstance(parse(line, world), Command)}
    # To somebody without a handle, two words that begin with `join` are what he is told to type.
    assert executed == (set() if world.registered else {"join us"})


def test_ordinary_english_of_three_words_is_posted() -> None:
    lines = [line for line in CORPUS if len(line.split()) > 2 and not is_direct(line)]
    assert [line for line in lines if parse(line, WORLD) != Text(line)] == []


def test_shorter_english_is_posted_or_asked_about() -> None:
    lines = [line for line in CORPUS if len(line.split()) < 3 and not is_direct(line)]
    results = {line: parse(line, WORLD) for line in lines}
    assert {line for line, result in results.items() if isinstance(result, Ask)} == ASKED
    assert all(results[line] == Text(line) for line in lines if line not in ASKED)


def test_english_that_begins_like_a_direct_message_is_refused() -> None:
    lines = [line for line in CORPUS if is_direct(line)]
    assert len(lines) >= 5
    assert all(isinstance(parse(line, WORLD), Problem) for line in lines)


# --- Help ----------------------------------------------------------------------------------------

NAMES = {verb.name for verb in VERBS}


class TestHelp:
    def test_fits_a_phone(self) -> None:
        lines = [part for line in help_text().splitlines() for part in textwrap.wrap(line, 40)]
        assert len(lines) <= 25

    def test_every_command_does_something(self) -> None:
        assert set(FUNCTIONS) == NAMES

    def test_names_every_command(self) -> None:
        words = set(help_text().replace(",", " ").split())
        assert words >= NAMES

    @pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
    def test_each_command_is_explained(self, verb) -> None:  # type: ignore[no-untyped-def]
        text = help_verb(verb.name)
        assert text.startswith(verb.help)
        assert all(f"`{usage}`" in text for usage in verb.usage.split(" / "))
        assert all(alias in text for alias in verb.aliases)
        assert all(help_verb(alias) == text for alias in verb.aliases)
        assert len(verb.help) <= 80
        assert verb.help.endswith(".")

    def test_usage(self) -> None:
        assert BY_WORD["d"].usage == "d WHO TEXT"
        assert BY_WORD["off"].usage == "off [GROUP|WHO] [SPAN]"
        assert BY_WORD["report"].usage == "report #ID [TEXT]"
        assert BY_WORD["group"].usage == "group GROUP [[-]WHO …]"
        assert (
            BY_WORD["digest"].usage
            == "digest GROUP|WHO [SPAN] / digest GROUP|WHO daily HH:MM / digest GROUP|WHO off"
        )

    def test_what_does_not_exist_says_so(self) -> None:
        assert help_verb("dance") == "There is no command `dance`: `help` lists them."

    def test_tolerates_how_it_is_typed(self) -> None:
        assert help_verb(" :FOLLOW ") == help_verb("follow")


@pytest.mark.parametrize("text", [":)", ":-) hello", ":/", ":3", "：）"])
def test_a_face_is_text(text: str) -> None:
    assert parse(text, WORLD) == Text(text)

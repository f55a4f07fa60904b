"""commands/grammar.py under any text, and under lines that are nearly commands (S15, S4.3)."""

from dataclasses import dataclass
from datetime import time, timedelta

from hypothesis import assume, example, given
from hypothesis import strategies as st

from xmpprelay.commands.arguments import (
    CLOCK,
    GROUP,
    HANDLE,
    ID,
    LANGUAGE,
    LINK,
    MEMBERS,
    NEW_GROUP,
    RATE,
    SPAN,
    TAG,
    URL,
    VERB,
    WHO,
    ZONE,
    Choice,
    DomainKind,
    Either,
    Kind,
    Number,
    Quoted,
)
from xmpprelay.commands.grammar import Ask, Command, Line, Problem, Text, parse, render
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
from xmpprelay.commands.verbs import BY_WORD, VERBS, Rest, help_verb
from xmpprelay.core.handles import COMMAND_WORDS
from xmpprelay.core.text import clean

HANDLES = ("alice", "bob", "carol", "bbc", "night_owl")


@dataclass(frozen=True)
class World:
    registered: bool = True

    def has_handle(self, handle: str) -> bool:
        return handle in HANDLES

    def has_group(self, name: str) -> bool:
        return name in {"news", "bbc"}

    def knows_jid(self, jid: str) -> bool:
        return jid == "dave@localhost"


WORLDS = st.sampled_from([World(), World(registered=False)])
WINDOWS = st.sampled_from([None, "bob"])

# --- Texts ---------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=()))
WORDS = st.one_of(
    st.sampled_from(sorted(BY_WORD)),
    st.sampled_from([*HANDLES, "@bob", "@nobody", "nobody", "news", "dave@localhost", "a@b.org"]),
    st.sampled_from(
        ["2h", "99999d", "0m", "4/h", "0/h", "08:00", "25:00", "5", "-bob", "-", "*.b.org"]
    ),
    st.sampled_from(
        ["#k3f", "k3f", "#tag", '"some words"', '"', "“x”", "on", "off", "all", "daily"]
    ),
    st.sampled_from([":", "\\", "~", "/", "msg", "em", "blok", "the", "9" * 5000, "\u200f", "é"]),
    st.text(max_size=6),
)
SPACES = st.sampled_from([" ", " ", " ", "  ", "\t", "\u3000", "\n", "", "\u200f "])
NEARLY = st.lists(st.tuples(WORDS, SPACES), max_size=6).map(
    lambda parts: "".join(word + space for word, space in parts)
)
LINES = st.one_of(ANY_TEXT, NEARLY)


@given(LINES, WORLDS, WINDOWS)
@example("d", World(), None)
@example("\ud800 \udfff", World(), None)
def test_every_text_is_one_of_four_things(text: str, world: World, here: str | None) -> None:
    line = parse(text, world, here)
    assert isinstance(line, Command | Text | Ask | Problem)
    assert parse(text, world, here) == line
    match line:
        case Command(verb, arguments):
            fits = [{slot.name for slot in slots} for _, slots in BY_WORD[verb].patterns]
            assert set(arguments) in fits or (here and not arguments)
        case Text(posted):
            assert posted in text
            assert posted == posted.strip()
        case Ask(sentence) | Problem(sentence):
            assert sentence
            assert len(sentence) < 400


@given(LINES, WORLDS, WINDOWS)
def test_never_posted_if_the_first_word_is_d(text: str, world: World, here: str | None) -> None:
    for word in ("d", "dm", "pm", "D", "Dm"):
        for space in (" ", "\n", "\u3000"):
            assert not isinstance(parse(f"{word}{space}{text}", world, here), Text)
            assert not isinstance(parse(f" {word}{space}{text}", world, here), Text)
            assert not isinstance(parse(f"~{word}{space}{text}", world, here), Text)


@given(LINES, WORLDS)
def test_never_posted_if_it_looks_like_a_direct_message(text: str, world: World) -> None:
    for start in ("em bob", "md @bob", "msg BOB", "dmm bob,", "/d bob"):
        assert not isinstance(parse(f"{start} {text}", world), Text | Command)


@given(LINES, WORLDS, WINDOWS)
def test_a_colon_is_a_command_or_an_error(text: str, world: World, here: str | None) -> None:
    line = parse(f":x{text}", world, here)
    assert isinstance(line, Command | Problem)
    if isinstance(line, Command):
        assert line.forced


@given(LINES, WORLDS, WINDOWS)
def test_a_backslash_is_a_post(text: str, world: World, here: str | None) -> None:
    assert parse(f"\\{text}", world, here) == Text(text.strip(), forced=True)


@given(LINES, WORLDS)
def test_a_space_or_a_slash_never_runs_anything(text: str, world: World) -> None:
    assert isinstance(parse(f" {text}", world), Text | Problem)
    assert not isinstance(parse(f"/{text}", world), Command)


@given(LINES, WORLDS)
def test_further_lines_are_a_post_but_for_verbs_with_text(text: str, world: World) -> None:
    line = parse(text, world)
    if isinstance(line, Command) and "\n" in clean(text).strip():
        assert BY_WORD[line.verb].takes_text


@given(LINES.map(clean), WORLDS)
def test_only_short_lines_are_asked_about(text: str, world: World) -> None:
    line = parse(text, world)
    if isinstance(line, Ask) and len(text.split()) > 2:
        assert "alone?" in line.sentence  # guard (ii), which holds at any length


@given(st.text(max_size=30), WORLDS)
def test_help_has_an_answer_for_any_word(word: str, world: World) -> None:
    assert help_verb(word)


# --- Commands ------------------------------------------------------------------------------------

HANDLE_VALUES = st.sampled_from([*HANDLES, "nobody"]).map(Handle)
WHO_VALUES = st.one_of(
    HANDLE_VALUES, st.sampled_from(["a@b.org", "dave@localhost", "é.x@münchen.de"]).map(Jid)
)
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
DOMAINS = st.builds(lambda one, two: f"{one}.{two}", LABEL, st.sampled_from(["org", "example.net"]))
PHRASES = (
    st.text(
        st.characters(exclude_categories=("C", "Zl", "Zp"), exclude_characters='"“”„«»「」『』＂')
    )
    .map(lambda text: " ".join(text.split())[:100].strip())
    .filter(bool)
    .map(Phrase)
)
TAGS = st.from_regex(r"[0-9]{0,2}[a-zäßд][a-z0-9_]{0,9}", fullmatch=True).map(
    lambda name: Tag(name.lower())
)
SPANS = st.one_of(
    st.builds(timedelta, minutes=st.integers(1, 527_040)),
    st.builds(timedelta, hours=st.integers(1, 8784)),
    st.builds(timedelta, days=st.integers(1, 366)),
)
UNITS = [timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)]
CODES = st.from_regex(r"[A-Za-z0-9_-]{16,43}", fullmatch=True).map(Code)
MEMBER = st.builds(Member, WHO_VALUES, st.booleans()).map(lambda member: (member,))
GROUPS = st.sampled_from(["news", "bbc"]).map(Group)


def values(kind: Kind) -> st.SearchStrategy[Value]:
    """Every value that the kind can have."""
    match kind:
        case Choice():
            return st.sampled_from(kind.words)
        case Either():
            return st.one_of([values(one) for one in kind.kinds])
        case Number():
            return st.integers(kind.low, kind.high)
        case Quoted():
            return PHRASES
        case DomainKind():
            return st.builds(Domain, DOMAINS, st.booleans())
    return {
        WHO: WHO_VALUES,
        HANDLE: st.sampled_from(["al", "new_one"]),
        GROUP: GROUPS,
        NEW_GROUP: st.sampled_from(["news", "fresh"]).map(Group),
        MEMBERS: st.lists(MEMBER, max_size=4).map(lambda ones: sum(ones, ())),
        ID: st.integers(0, 2**63 - 1).map(PostId),
        SPAN: SPANS,
        RATE: st.builds(Rate, st.integers(1, 1000), st.sampled_from(UNITS)),
        CLOCK: st.builds(time, st.integers(0, 23), st.integers(0, 59)),
        TAG: TAGS,
        ZONE: st.sampled_from(["Europe/Berlin", "America/Argentina/Ushuaia", "UTC", "-03:30"]),
        LANGUAGE: st.sampled_from(["de", "pt-BR", "zh-Hant-TW"]),
        VERB: st.sampled_from(sorted(COMMAND_WORDS)),
        LINK: st.one_of(st.builds(Domain, DOMAINS), CODES),
        URL: st.sampled_from(["https://example.org", "HTTP://a.b/c?d=e#f", "https://[::1]:80/"]),
    }[kind]


TEXTS = st.text(st.characters(exclude_categories=("Cs",))).map(str.strip).filter(bool)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    """Any command at all, with any arguments."""
    verb = draw(st.sampled_from(VERBS))
    form, slots = draw(st.sampled_from(verb.patterns))
    arguments = {slot.name: draw(values(slot.kind)) for slot in slots}
    text = ""
    if form.rest is Rest.REQUIRED or (form.rest is Rest.OPTIONAL and draw(st.booleans())):
        text = draw(TEXTS)
    return Command(verb.name, arguments, text, draw(st.booleans()))


def is_read_otherwise(command: Command) -> bool:
    """Whether a rule of the grammar gives the line another meaning."""
    if command.verb == "group" and not command.forced:
        members = command.arguments["members"]
        assert isinstance(members, tuple)
        known = {Handle(name) for name in HANDLES} | {Jid("dave@localhost")}
        someone = any(one.who in known and not one.remove for one in members)
        return command.arguments["group"] != Group("news") and not someone
    return command.verb == "join" and not command.forced


@given(commands())
def test_a_command_written_back_reads_the_same(command: Command) -> None:
    assume(not is_read_otherwise(command))
    assert parse(render(command), World()) == command


@given(commands(), st.sampled_from(["please", "now then", "is what they said", "!"]))
def test_one_word_too_many_and_it_is_no_command(command: Command, more: str) -> None:
    assume(not command.text and not BY_WORD[command.verb].takes_text and command.verb != "group")
    line: Line = parse(f"{render(command)} {more}", World())
    if command.forced:
        # `:find` takes all the words there are, and `:follow please` is a command.
        assert isinstance(line, Command | Problem)
    else:
        assert not isinstance(line, Command) or command.verb == "join"


@given(commands(), st.data())
def test_one_word_too_few_and_it_is_that_command_no_more(
    command: Command, data: st.DataObject
) -> None:
    words = render(command).split(" ")
    cut = data.draw(st.integers(0, len(words) - 1))
    line = parse(" ".join(words[:cut] + words[cut + 1 :]), World())
    assert line != command or command.text

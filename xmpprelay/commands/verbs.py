"""The table of commands: one definition each, for parsing, help and forms alike (S15).

A verb has forms, a form has slots, a slot has a name and a kind. `patterns` spells the optional
slots out, so that reading a line is comparing it with a few fixed rows. Order matters nowhere: no
line fits two verbs, and where it fits two patterns of one verb, the first one holds.

What a command does is not here, and neither is which of them work in this version: whoever asks for
help says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

from xmpprelay.commands.arguments import (
    CLOCK,
    GROUP,
    HANDLE,
    ID,
    LANGUAGE,
    LINK,
    MEMBERS,
    NAME,
    NEW_GROUP,
    ON_OFF,
    RATE,
    SPAN,
    TAG,
    TARGET,
    URL,
    VERB,
    WHO,
    ZONE,
    Cause,
    Choice,
    Either,
    Kind,
    Miss,
    Number,
    Quoted,
    Reading,
)
from xmpprelay.commands.values import Group, Handle, Value


@dataclass(frozen=True, slots=True)
class Slot:
    """One argument of a form."""

    name: str  # the key in `Command.arguments`
    kind: Kind
    optional: bool = False
    many: bool = False  # none or more words; only as the last slot

    @property
    def usage(self) -> str:
        """How the slot is written in a usage line."""
        usage = f"{self.kind.usage} …" if self.many else self.kind.usage
        return f"[{usage}]" if self.optional or self.many else usage


class Rest(Enum):
    """Whether the rest of the message, further lines included, is text."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Here(Enum):
    """What the command means in the window of one person when it names nobody (S3.3)."""

    NOTHING = "nothing"
    PERSON = "person"  # that person
    LAST_POST = "last post"  # the last post of that person


Check = Callable[[Mapping[str, Value], Reading], Miss | None]


def _passes(arguments: Mapping[str, Value], reading: Reading) -> Miss | None:
    return None


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a command."""

    slots: tuple[Slot, ...] = ()
    rest: Rest = Rest.NONE
    check: Check = _passes  # what the slots cannot say each by itself

    @property
    def patterns(self) -> list[tuple[Slot, ...]]:
        """The form with each optional slot present and absent, the fullest first."""
        rows: list[tuple[Slot, ...]] = [()]
        for slot in self.slots:
            present = [(*row, slot) for row in rows]
            rows = present + rows if slot.optional else present
        return sorted(rows, key=len, reverse=True)


@dataclass(frozen=True)
class Verb:
    """One command, with everything that there is to say about it."""

    name: str
    forms: tuple[Form, ...]
    group: str  # under which heading of the help
    help: str  # one line
    aliases: tuple[str, ...] = ()
    here: Here = Here.NOTHING
    unquoted: bool = False  # forced by `:`, all its words together are one phrase

    @cached_property
    def patterns(self) -> tuple[tuple[Form, tuple[Slot, ...]], ...]:
        """Every row that a line may fit, with the form it comes from."""
        return tuple((form, slots) for form in self.forms for slots in form.patterns)

    @cached_property
    def most_words(self) -> int | None:
        """How many words can follow the verb; None if any number."""
        if any(slot.many for form in self.forms for slot in form.slots):
            return None
        return max(len(form.slots) for form in self.forms)

    @cached_property
    def takes_text(self) -> bool:
        """Whether further lines of the message belong to the command."""
        return any(form.rest is not Rest.NONE for form in self.forms)

    @cached_property
    def usage(self) -> str:
        """How it is typed: the forms, with ` / ` between them."""
        return " / ".join(self._usage_of(form) for form in self.forms)

    def _usage_of(self, form: Form) -> str:
        text = {Rest.NONE: [], Rest.OPTIONAL: ["[TEXT]"], Rest.REQUIRED: ["TEXT"]}[form.rest]
        return " ".join([self.name, *(slot.usage for slot in form.slots), *text])


# --- The table -----------------------------------------------------------------------------------


def _one(*slots: Slot, rest: Rest = Rest.NONE, check: Check = _passes) -> tuple[Form, ...]:
    return (Form(slots, rest, check),)


def _only(*words: str) -> tuple[Form, ...]:
    return _one(Slot("setting", Choice(*words)))


def _new_group_has_someone(arguments: Mapping[str, Value], reading: Reading) -> Miss | None:
    """A new group needs at least one member that resolves (S15)."""
    group, members = arguments["group"], arguments["members"]
    if not isinstance(group, Group) or not isinstance(members, tuple):
        raise TypeError("a group line has a group and members")
    names = reading.names
    if reading.forced or names.has_group(group.name):
        return None
    for member in members:
        who = member.who
        known = names.has_handle(who.name) if isinstance(who, Handle) else names.knows_jid(who.jid)
        if known and not member.remove:
            return None
    return Miss(Cause.NAME, f"you have no group {group.name}, and a new one needs a member")


_BARE: Final = (Form(),)
_WHO: Final = Slot("who", WHO)
_ID: Final = Slot("id", ID)
_TARGET: Final = Slot("target", TARGET)
_WHAT: Final = Slot("what", NAME)
_N: Final = Slot("n", Number(1, 50), optional=True)
_MAYBE_WHAT: Final = Slot("what", NAME, optional=True)
_MAYBE_SPAN: Final = Slot("span", SPAN, optional=True)

_TEXT_OR_OFF: Final = Either(Choice("off"), Quoted('"TEXT"', most=500))

WRITE: Final = "Write"
FOLLOW: Final = "Follow"
READ: Final = "Read"
KEEP_OUT: Final = "Keep out"
LESS: Final = "Less"
SETTINGS: Final = "Settings"
ACCOUNT: Final = "Account"
SERVICE: Final = "Service"

VERBS: Final = (
    # Write
    Verb("d", _one(_WHO, rest=Rest.REQUIRED), WRITE, "Writes to one person alone.", ("dm", "pm")),
    Verb("re", _one(_ID, rest=Rest.REQUIRED), WRITE, "Replies to a post, in public."),
    Verb(
        "boost", _one(_ID), WRITE, "Passes a post on to your followers.", ("rt", "repeat"),
        Here.LAST_POST,
    ),
    Verb("like", _one(_ID), WRITE, "Tells the author that you like it.", ("fav",), Here.LAST_POST),
    Verb("edit", _one(_ID, rest=Rest.REQUIRED), WRITE, "Gives your post a new text, for 24 hours."),
    Verb("del", _one(Slot("id", ID, optional=True)), WRITE, "Deletes your post, or your last one."),
    Verb("report", _one(_ID, rest=Rest.OPTIONAL), WRITE, "Shows a post to the operator."),
    # Follow
    Verb(
        "follow", _one(_WHO), FOLLOW, "You get all that this person posts.", ("f",), Here.PERSON
    ),
    Verb(
        "unfollow", _one(_WHO), FOLLOW, "You get no more of that.", ("u", "leave"), Here.PERSON
    ),
    Verb("following", _BARE, FOLLOW, "Lists whom you follow."),
    Verb("followers", _BARE, FOLLOW, "Lists who follows you."),
    Verb("lose", _one(_WHO), FOLLOW, "Makes somebody follow you no more."),
    Verb("protect", _only("on", "off"), FOLLOW, "Lets only those follow whom you approve."),
    Verb("requests", _BARE, FOLLOW, "Lists who wants to follow you."),
    Verb("approve", _one(_WHO), FOLLOW, "Lets somebody follow you."),
    Verb("deny", _one(_WHO), FOLLOW, "Refuses a request; nobody is told."),
    # Read
    Verb("last", _one(_WHO, _N), READ, "Shows the last posts of one.", ("get",), Here.PERSON),
    Verb("timeline", _one(_N), READ, "Shows the last posts of all whom you follow."),
    Verb("more", _one(Slot("who", WHO, optional=True)), READ, "The rest of what you missed."),
    Verb("skip", _BARE, READ, "Drops the rest of what you missed."),
    Verb("show", _one(_ID), READ, "Shows one post."),
    Verb("why", _one(_ID), READ, "Tells why you got a post, or did not."),
    Verb("whois", _one(_WHO), READ, "Tells who somebody is.", (), Here.PERSON),
    Verb(
        "find", _one(Slot("what", Either(TAG, Quoted(asks=True)))), READ,
        "Looks for words or a tag; `:find` needs no quotation marks.", unquoted=True,
    ),
    # Keep out
    Verb(
        "block", _one(_TARGET), KEEP_OUT, "Nothing passes between you and them.", (), Here.PERSON
    ),
    Verb("unblock", _one(_TARGET), KEEP_OUT, "Ends a block; nothing else comes back."),
    Verb("blocks", _BARE, KEEP_OUT, "Lists whom you block."),
    Verb(
        "mute",
        (
            Form((_TARGET, _MAYBE_SPAN)),
            Form((Slot("target", WHO), Slot("scope", Choice("boosts", "all")))),
        ),
        KEEP_OUT,
        "You do not see it, and nobody is told; replies to you still come, unless `all`.",
        (),
        Here.PERSON,
    ),
    Verb("unmute", _one(_TARGET), KEEP_OUT, "Ends a mute."),
    Verb("mutes", _BARE, KEEP_OUT, "Lists what you mute."),
    # Less
    Verb(
        "group",
        _one(
            Slot("group", NEW_GROUP), Slot("members", MEMBERS, many=True),
            check=_new_group_has_someone,
        ),
        LESS,
        "Makes a group of people, adds to it, or takes out with `-`; yours alone.",
    ),
    Verb("groups", _BARE, LESS, "Lists your groups."),
    Verb(
        "off", _one(_MAYBE_WHAT, _MAYBE_SPAN), LESS,
        "Nothing live of them, or of anybody, for a while.", (), Here.PERSON,
    ),
    Verb("on", _one(_MAYBE_WHAT), LESS, "Live again, after `off`."),
    Verb("on+", _one(Slot("what", GROUP, optional=True)), LESS, "Live again, and what you missed."),
    Verb("max", _one(_WHO, Slot("rate", RATE)), LESS, "No more than that many of one person."),
    Verb(
        "digest",
        (
            Form((_WHAT, _MAYBE_SPAN)),
            Form((_WHAT, Slot("how", Choice("daily")), Slot("at", CLOCK))),
            Form((_WHAT, Slot("how", Choice("off")))),
        ),
        LESS,
        "One message now and then instead of each post; hourly if you do not say.",
        (),
        Here.PERSON,
    ),
    Verb(
        "catchup", _one(Slot("n", Either(Number(0, 100), Choice("digest")))), LESS,
        "How many posts you get when you come back.",
    ),
    # Settings
    Verb("replies", _only("all", "following", "none"), SETTINGS, "Whose replies to others come."),
    Verb("mentions", _only("all", "following", "none"), SETTINGS, "Who may mention you."),
    Verb("dms", _only("followed", "all", "none"), SETTINGS, "Who may write to you alone."),
    Verb(
        "mode",
        _one(Slot("who", Either(Choice("all"), WHO)), Slot("mode", Choice("author", "home"))),
        SETTINGS,
        "Whether posts come from their author's address or from here.",
    ),
    Verb("delivery", _only("chat", "headline"), SETTINGS, "As chat, or as unkept headlines."),
    Verb("archive", _only("on", "off"), SETTINGS, "Whether your server keeps the posts."),
    Verb("window", _only("dm", "reply", "ask"), SETTINGS, "What text in one person's window is."),
    Verb("quiet", _only("on", "off"), SETTINGS, "Only a receipt for each post, no `ok`."),
    Verb("ids", _only("on", "off"), SETTINGS, "Shows the ids of posts everywhere."),
    Verb("lang", _one(Slot("language", LANGUAGE)), SETTINGS, "The language of your posts."),
    Verb("tz", _one(Slot("zone", ZONE)), SETTINGS, "Your time zone."),
    # Account
    Verb("join", _one(Slot("handle", HANDLE)), ACCOUNT, "Gives you a handle, to post under."),
    Verb("leave-relay", _only("yes"), ACCOUNT, "Deletes your account here."),
    Verb(
        "profile",
        (
            Form(),
            Form((Slot("field", Choice("name", "about")), Slot("text", _TEXT_OR_OFF))),
            Form((Slot("field", Choice("url")), Slot("text", Either(Choice("off"), URL)))),
            Form((Slot("field", Choice("bot")), Slot("setting", ON_OFF))),
            Form((Slot("field", Choice("picture")), Slot("setting", Choice("off")))),
            Form((Slot("field", Choice("own")),)),
        ),
        ACCOUNT,
        "What others see of you; `own` takes it over from your own address.",
    ),
    Verb(
        "feed", _one(Slot("what", Choice("new", "private", "public"), optional=True)), ACCOUNT,
        "The addresses of your feeds.",
    ),
    Verb("export", _BARE, ACCOUNT, "Gives you all that the relay holds of you."),
    Verb("help", _one(Slot("verb", VERB, optional=True)), ACCOUNT, "Explains one, or lists them."),
    # Service
    Verb(
        "link", _one(Slot("to", Either(Choice("private", "public"), LINK), optional=True)), SERVICE,
        "Links your account elsewhere; `private` lets protected posts go there.",
    ),
    Verb("unlink", _BARE, SERVICE, "Ends the link."),
    Verb("source", _only("pep", "off"), SERVICE, "Takes your posts from your own microblog."),
    Verb("pending", _BARE, SERVICE, "Your posts that are not inserted yet; `~text` never is."),
    Verb("drop", _one(Slot("id", Either(Choice("all"), ID))), SERVICE, "Takes pending posts back."),
    Verb("resend", _one(_ID), SERVICE, "Inserts a held post again."),
    Verb(
        "expire", _one(Slot("span", Either(SPAN, Choice("off")))), SERVICE,
        "Drops your pending posts after that long.",
    ),
    Verb("queue", _BARE, SERVICE, "How many posts wait to be inserted, and how long."),
    Verb("status", _BARE, SERVICE, "How the relay and its primary are."),
    Verb("stats", _BARE, SERVICE, "How much there is: people, posts, deliveries."),
    Verb("ping", _BARE, SERVICE, "Answers, to show that the relay is there."),
)  # fmt: skip
"""Every command of S15."""

BY_WORD: Final[Mapping[str, Verb]] = {
    word: verb for verb in VERBS for word in (verb.name, *verb.aliases)
}
"""Each verb by its name and by its aliases."""


# --- Help ----------------------------------------------------------------------------------------

_LEGEND: Final = {
    "WHO": "bob, @bob or carol@example.org",
    "GROUP": "the name of a group of yours",
    "#ID": "as in #k3f",
    "SPAN": "30m, 2h or 3d",
}


def help_text() -> str:
    """What a person can type, in about 20 lines on a phone: the commands, by heading."""
    headings: dict[str, list[str]] = {}
    for verb in VERBS:
        headings.setdefault(verb.group, []).append(verb.name)
    return "\n".join(
        [
            "What you type is posted, unless it is a command:",
            *(f"{heading}: {', '.join(names)}" for heading, names in headings.items()),
            "`:follow bob` is always a command, `\\follow bob` always a post.",
            "`help follow` explains one.",
        ]
    )


def help_verb(word: str) -> str:
    """What one command does and how it is typed."""
    name = word.strip().lower().removeprefix(":")
    verb = BY_WORD.get(name)
    if verb is None:
        return f"There is no command `{name[:20]}`: `help` lists them."
    lines = [f"{verb.help}", *(f"`{usage}`" for usage in verb.usage.split(" / "))]
    if verb.aliases:
        lines.append(f"Also: {', '.join(verb.aliases)}")
    lines += [f"{sign}: {meaning}" for sign, meaning in _LEGEND.items() if sign in verb.usage]
    return "\n".join(lines)

"""Every option of the configuration: its type, default, explanation and what it allows.

A table of the file is a dataclass here. What follows a field's type in `Annotated` is for
`reading.py`, which checks the values with it, and an `Option`, from which the sample and the manual
page are made. An object made in code is not checked; `load` makes checked ones.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import Field as DataclassField
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field

from xmpprelay.config.addresses import bare_jid, domain_name

SECRET_VARIABLE: Final = "XMPPRELAY_SECRET"  # noqa: S105 - the name of a variable, not a secret

LATER: Final = ("web", "primary", "feeds", "retention", "store.key_file")
"""Tables and options of later versions: refused, but with better words than a slip of the pen."""


class Secret:
    """A text that must not be seen: `reveal()` is the only way to it; repr and str hide it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; only for the place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))


# What one value must be like. Each function returns the value as the relay will use it, or raises
# ValueError with words that continue the value: "… can match no handle".


def _local_part(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_.-]{1,64}", value):
        raise ValueError("cannot be the part before the @ of an address")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,253}", value):
        raise ValueError("is neither a host name nor an IP address")
    return value


def _contact(value: str) -> str:
    if not re.fullmatch(r"(mailto|xmpp|https):[\x21-\x7e]+", value):
        raise ValueError("is not an address of the form mailto:…, xmpp:… or https:…")
    return value


def _pattern(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_*?\[\]!-]{1,64}", value.lower()):
        raise ValueError("can match no handle")
    return value.lower()


def _store_url(value: str) -> str:
    scheme = value.partition(":")[0].lower()
    if scheme.startswith("postgres"):
        raise ValueError("names PostgreSQL, which a later version will bring")
    if not re.fullmatch(r"sqlite:////[^?#\x00-\x1f]*[^/?#\x00-\x1f]", value):
        raise ValueError("is not the URL of an SQLite file with an absolute path")
    return value


def one_line_secret(text: str) -> Secret:
    """The secret, or ValueError: it is empty, or more than one line."""
    if not text.strip():
        raise ValueError("is empty")
    if not text.isprintable():
        raise ValueError("has a line break or another control character in it")
    return Secret(text)


def _secret(value: object) -> object:
    return one_line_secret(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Option:
    """What people are told about an option."""

    about: str  # what it is for
    allowed: str  # what may be given; continues "give …"
    fill_in: bool = False  # the sample leaves it empty, for the operator to fill in
    optional: bool = False  # the sample only mentions it
    private: bool = False  # a value given for it is never repeated in a problem


Domain = Annotated[str, AfterValidator(domain_name)]
BareJid = Annotated[str, AfterValidator(bare_jid)]
Contacts = tuple[Annotated[str, AfterValidator(_contact)], ...]
Patterns = tuple[Annotated[str, AfterValidator(_pattern)], ...]
Policy = Literal["register", "open", "closed"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

_ADDRESSES: Final = "a list of mailto:, xmpp: or https: addresses"


@dataclass(frozen=True, slots=True)
class Xmpp:
    """How the relay is connected to its XMPP server, as a component (XEP-0114)."""

    domain: Annotated[
        Domain,
        Option(
            "The component's domain, as the server's configuration names it.",
            "a domain name such as relay.example.org",
            fill_in=True,
        ),
    ]
    secret_file: Annotated[
        str,
        Option(
            "A file whose only line is the secret that the component shares with the server. A "
            "path that does not begin with / counts from this file's folder. Only the relay's user "
            "should be able to read it. Instead of it one may use `secret` or the environment "
            f"variable `{SECRET_VARIABLE}`: exactly one of the three.",
            "the path of a file",
            fill_in=True,
        ),
    ] = ""
    secret: Annotated[
        Secret,
        BeforeValidator(_secret),
        Option(
            "The secret itself. Then only the relay's user should be able to read this file.",
            "a text of one line",
            optional=True,
            private=True,
        ),
    ] = Secret("")  # noqa: RUF009 - cannot be changed
    home: Annotated[
        str,
        AfterValidator(_local_part),
        Option(
            "The part before the @ of the address that people post to and that the relay speaks "
            "from.",
            "1 to 64 of a-z 0-9 _ . -",
        ),
    ] = "home"
    admins: Annotated[
        tuple[BareJid, ...],
        Option(
            "Who may use the operator's commands.",
            "a list of bare JIDs, each on one of the server's own domains",
        ),
    ] = ()
    local_domains: Annotated[
        tuple[Domain, ...],
        Option(
            "The server's own domains. The relay asks the first one whether the server keeps up; "
            "every other domain counts as remote. Left empty: the domain above the component's.",
            "a list of domain names, without the component's own",
        ),
    ] = ()
    host: Annotated[
        str,
        AfterValidator(_host),
        Option("Where the server listens for components.", "a host name or an IP address"),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Field(ge=1, le=65535),
        Option(
            "The port on which the server listens for components.",
            "a whole number from 1 to 65535",
        ),
    ] = 5347

    def __post_init__(self) -> None:
        above = self.domain.partition(".")[2]
        if not self.local_domains and above:
            object.__setattr__(self, "local_domains", (above,))


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to reach about this relay; anybody can ask for these addresses (XEP-0157)."""

    abuse: Annotated[Contacts, Option("For reports of abuse.", _ADDRESSES)] = ()
    admin: Annotated[Contacts, Option("The operator.", _ADDRESSES)] = ()
    support: Annotated[Contacts, Option("For people who need help.", _ADDRESSES)] = ()
    security: Annotated[Contacts, Option("For reports of security holes.", _ADDRESSES)] = ()
    feedback: Annotated[Contacts, Option("For praise and blame.", _ADDRESSES)] = ()
    sales: Annotated[Contacts, Option("For business.", _ADDRESSES)] = ()


@dataclass(frozen=True, slots=True)
class Store:
    """Where the journal is kept: posts, people, who follows whom, who has had what."""

    url: Annotated[
        str,
        AfterValidator(_store_url),
        Option(
            "The database. Its folder must be there and belong to the relay's user; the relay "
            "makes the file, and beside it a lock and the socket of the command line.",
            "sqlite:// and an absolute path, such as sqlite:////var/lib/xmpprelay/relay.db",
            private=True,
        ),
    ] = "sqlite:////var/lib/xmpprelay/relay.db"

    @property
    def path(self) -> Path:
        """The database's file."""
        return Path(self.url.removeprefix("sqlite:///"))

    @property
    def socket(self) -> Path:
        """The socket on which a running relay listens for the command line."""
        return self.path.with_name(self.path.name + ".sock")


@dataclass(frozen=True, slots=True)
class Registration:
    """Who may take a handle, and so may post."""

    policy: Annotated[
        Policy,
        Option(
            "`register`: anybody, with `join HANDLE` or his client's form. `open`: that too, and "
            "whoever posts without one gets a handle made of the first part of his address, which "
            "everybody can see then. `closed`: nobody new.",
            "register, open or closed",
        ),
    ] = "register"
    reserved: Annotated[
        Patterns,
        Option(
            "Handles that nobody may take, besides the ones that are always reserved. `*` stands "
            "for any characters, `?` for one.",
            'a list of patterns, such as ["news*", "mayor"]',
        ),
    ] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one person, or the people of one other domain, may do."""

    posts_per_second: Annotated[
        float,
        Field(gt=0, le=1000),
        Option(
            "How many posts a second one author may send in the long run.",
            "a number above 0, up to 1000",
        ),
    ] = 1.0
    burst: Annotated[
        int,
        Field(ge=1, le=10_000),
        Option(
            "How many posts one author may send at once before that rate counts.",
            "a whole number from 1 to 10000",
        ),
    ] = 5
    posts_per_hour: Annotated[
        int,
        Field(ge=1, le=3_600_000),
        Option(
            "How many posts one author may send in an hour.",
            "a whole number from 1 to 3600000",
        ),
    ] = 300
    max_chars: Annotated[
        int,
        Field(ge=1, le=8000),
        Option("How long a post may be, in characters.", "a whole number from 1 to 8000"),
    ] = 2000
    follows: Annotated[
        int,
        Field(ge=1, le=1_000_000),
        Option("How many authors one person may follow.", "a whole number from 1 to 1000000"),
    ] = 2000
    domain_joins_per_hour: Annotated[
        int,
        Field(ge=1, le=1_000_000),
        Option(
            "How many people of one other domain may take a handle in an hour. The server's own "
            "people and `xmpprelay people import` are not limited.",
            "a whole number from 1 to 1000000",
        ),
    ] = 20
    domain_follows_per_minute: Annotated[
        int,
        Field(ge=1, le=1_000_000),
        Option(
            "How many new follows the people of one other domain may make in a minute, together.",
            "a whole number from 1 to 1000000",
        ),
    ] = 60
    domain_people: Annotated[
        int,
        Field(ge=1, le=10_000_000),
        Option(
            "How many people of one other domain may be known here without a handle.",
            "a whole number from 1 to 10000000",
        ),
    ] = 20_000
    load_busy_s: Annotated[
        float,
        Field(gt=0, le=86_400),
        Option(
            "When the posts on their way need longer than this, in seconds, posts of outlets go to "
            "digests.",
            "a number above 0, up to 86400",
        ),
    ] = 30.0
    load_peak_s: Annotated[
        float,
        Field(gt=0, le=86_400),
        Option(
            "When they need longer than this, in seconds, posts of firehoses do so too.",
            "a number above 0, up to 86400",
        ),
    ] = 120.0


@dataclass(frozen=True, slots=True)
class Log:
    """What the relay writes to its standard error. Never a post's text, never a secret."""

    level: Annotated[
        LogLevel,
        Option(
            "The least important events that are still written.",
            "debug, info, warning or error",
        ),
    ] = "info"
    format: Annotated[
        LogFormat,
        Option(
            "`json`: one JSON object a line. `console`: for reading. `auto`: console on a "
            "terminal, else json.",
            "auto, json or console",
        ),
    ] = "auto"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, checked and complete."""

    xmpp: Xmpp
    store: Store = Store()
    contact: Contact = Contact()
    registration: Registration = Registration()
    limits: Limits = Limits()
    log: Log = Log()
    source: Path | None = None  # the file it was read from; None: made in code


@dataclass(frozen=True, slots=True)
class Entry:
    """One option as `reading.py` and `sample.py` need it."""

    key: str
    annotation: Any  # the type, with all that checks it
    option: Option
    default: Any  # dataclasses.MISSING: must be given


def _entries(table: type[Any]) -> dict[str, Entry]:
    hints = get_type_hints(table, include_extras=True)
    table_fields: tuple[DataclassField[Any], ...] = fields(table)
    return {
        field.name: Entry(
            field.name, hints[field.name], _option_of(hints[field.name]), field.default
        )
        for field in table_fields
    }


def _option_of(annotation: Any) -> Option:
    return next(part for part in annotation.__metadata__ if isinstance(part, Option))


TABLES: Final[Mapping[str, type[Any]]] = {
    "xmpp": Xmpp,
    "store": Store,
    "contact": Contact,
    "registration": Registration,
    "limits": Limits,
    "log": Log,
}
"""The tables of the file, in the order of the sample."""

OPTIONS: Final[Mapping[str, Mapping[str, Entry]]] = {
    name: _entries(table) for name, table in TABLES.items()
}
"""All options by table and key."""

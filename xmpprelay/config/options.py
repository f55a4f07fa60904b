"""Every option of the configuration: its type, default, explanation and what it allows.

A table of the file is a dataclass here. What follows a field's type in `Annotated` is for
`reading.py`, which checks the values with it, and an `Option`, from which the sample and the manual
page are made. An object made in code is not checked; `load` makes checked ones.
"""

from collections.abc import Mapping
from dataclasses import Field as DataclassField
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

from pydantic import Field

from xmpprelay.config.values import (
    BareJid,
    Contacts,
    Domain,
    Driver,
    Host,
    Instances,
    Kept,
    Listen,
    LocalPart,
    LogFormat,
    LogLevel,
    Node,
    OneLineSecret,
    Option,
    OriginalTime,
    PageUrl,
    Patterns,
    Policy,
    RefusedParent,
    Secret,
    Shown,
    Span,
    StoreUrl,
    Table,
    TooLong,
    Unsure,
    WebhookSecret,
    WebUrl,
)

SECRET_VARIABLE: Final = "XMPPRELAY_SECRET"  # noqa: S105 - the name of a variable, not a secret


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
        OneLineSecret,
        Option(
            "The secret itself. Then only the relay's user should be able to read this file.",
            "a text of one line",
            optional=True,
            private=True,
        ),
    ] = Secret("")  # noqa: RUF009 - cannot be changed
    home: Annotated[
        LocalPart,
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
        Host,
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

    multicast: Annotated[
        bool,
        Option(
            "Whether posts to people on the first local domain go through the server's multicast "
            "service, twenty of them in a stanza, where it has one that works (XEP-0033; ejabberd "
            "with mod_multicast). Faster with many followers; but what waits in that service can "
            "be lost when it is restarted by itself.",
            "true or false",
        ),
    ] = False

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
        StoreUrl,
        Option(
            "The database. Its folder must be there and belong to the relay's user; the relay "
            "makes the file, and beside it a lock and the socket of the command line.",
            "sqlite:// and an absolute path, such as sqlite:////var/lib/xmpprelay/relay.db",
            private=True,
        ),
    ] = "sqlite:////var/lib/xmpprelay/relay.db"
    key_file: Annotated[
        str,
        Option(
            "The file with the key that encrypts the tokens of linked accounts, apart from the "
            "database so that a copy of that gives no token away. The first run makes it; keep a "
            "copy, but not beside the database's. A path that does not begin with / counts from "
            "this file's folder. Left empty: `key` in the database's folder.",
            "the path of a file",
        ),
    ] = ""

    @property
    def key_path(self) -> Path:
        """The file of the key."""
        return Path(self.key_file) if self.key_file else self.path.with_name("key")

    @property
    def path(self) -> Path:
        """The database's file."""
        return Path(self.url.removeprefix("sqlite:///"))

    @property
    def socket(self) -> Path:
        """The socket on which a running relay listens for the command line."""
        return self.path.with_name(self.path.name + ".sock")


@dataclass(frozen=True, slots=True)
class Primary:
    """The primary service: where posts are inserted later, once and in order."""

    driver: Annotated[
        Driver,
        Option(
            "What kind of service it is: a Mastodon-API server, an XMPP pubsub service, a table "
            "of a database, or anything that takes webhooks.",
            "none, sql, pubsub, mastodon or webhook",
        ),
    ] = "none"
    url: Annotated[
        str,
        Option(
            "Where it is. `sql`: the database. `mastodon`: the instance on which one account takes "
            "the posts of all authors, with `token` or `token_file`. `webhook`: the receiver. "
            "http:// only on this machine.",
            "https:// and a host; for sql sqlite:// and an absolute path, or postgresql://…",
            optional=True,
            private=True,
        ),
    ] = ""
    table: Annotated[
        Table,
        Option(
            "`sql`: the table; it is made if it is missing.",
            "letters, digits and _, up to 63, the first no digit",
        ),
    ] = "post"
    instances: Annotated[
        Instances,
        Option(
            "`mastodon`: where authors may link their own accounts, instead of `url`.",
            'a list of addresses such as ["https://social.example"]',
        ),
    ] = ()
    service: Annotated[
        Domain,
        Option(
            "`pubsub`: the service's domain. The relay must be allowed to publish there.",
            "a domain name such as pubsub.example.org",
            optional=True,
        ),
    ] = ""
    node: Annotated[
        Node,
        Option("`pubsub`: the node that gets the posts.", "a name of up to 1023 bytes"),
    ] = "microblog"
    secret_file: Annotated[
        str,
        Option(
            "`webhook`: a file whose only line is the secret that requests are signed with. Only "
            "the relay's user should be able to read it. Instead of it one may use `secret`.",
            "the path of a file",
            optional=True,
        ),
    ] = ""
    secret: Annotated[
        WebhookSecret,
        Option(
            "The secret itself.",
            "whsec_ and 24 to 64 bytes in base64",
            optional=True,
            private=True,
        ),
    ] = Secret("")  # noqa: RUF009 - cannot be changed
    token_file: Annotated[
        str,
        Option(
            "`mastodon` with `url`: a file whose only line is an access token of the one account. "
            "Only the relay's user should be able to read it. Instead of it one may use `token`.",
            "the path of a file",
            optional=True,
        ),
    ] = ""
    token: Annotated[
        OneLineSecret,
        Option("The token itself.", "a text of one line", optional=True, private=True),
    ] = Secret("")  # noqa: RUF009 - cannot be changed
    ca_file: Annotated[
        str,
        Option(
            "`mastodon`, `webhook`: a file with the certificates of a certificate authority of "
            "your own, if the service's certificate is from there. Left out: the system's.",
            "the path of a file with certificates in PEM",
            optional=True,
        ),
    ] = ""
    settle_s: Annotated[
        float,
        Field(gt=0, le=3600),
        Option(
            "How long the service may take to finish what it was sent, in seconds. After an "
            "unclear answer the relay waits for so long before it looks whether the post is "
            "there; a service that takes longer can have a post twice.",
            "a number above 0, up to 3600",
        ),
    ] = 60.0
    max_age: Annotated[
        Span,
        Option(
            "A post that could not be inserted for so long is not inserted any more, unless its "
            "author says so.",
            "a span such as 30m, 2h or 7d, up to 366d",
        ),
    ] = timedelta(days=7)
    reply_wait: Annotated[
        Span,
        Option(
            "How long a reply waits for the post that it answers to be inserted.",
            "a span such as 30m, 2h or 7d, up to 366d",
        ),
    ] = timedelta(hours=1)
    visibility: Annotated[
        Shown,
        Option("How a public post is inserted.", "public or unlisted"),
    ] = "public"
    long: Annotated[
        TooLong,
        Option(
            "What becomes of a post that is too long for the service. `link`: it is cut, and a "
            "link to the whole is added. `refuse`: it is not inserted. `split`: it is inserted "
            "in several parts.",
            "link, refuse or split",
        ),
    ] = "link"
    unsure: Annotated[
        Unsure,
        Option(
            "What becomes of a post of which nobody can find out whether it was inserted. "
            "`hold`: its author is asked. `resend`: it is sent again, and may be there twice.",
            "hold or resend",
        ),
    ] = "hold"
    refused_parent: Annotated[
        RefusedParent,
        Option(
            "What becomes of a reply to a post that was not inserted. `detach`: it is inserted as "
            "a post of its own. `hold`: its author is asked.",
            "detach or hold",
        ),
    ] = "detach"
    time: Annotated[
        OriginalTime,
        Option(
            "What a post that is inserted late says about when it was written. `suffix`: the time "
            "is added to its text. `backdate`: it appears at that time, where the service can.",
            "none, suffix or backdate",
        ),
    ] = "none"
    read_back: Annotated[
        bool,
        Option(
            "`mastodon`: whether the relay asks for each new post once more. A server may answer "
            "that it has a post, and drop it as spam; then its author is told. It costs a request "
            "for each post.",
            "true or false",
        ),
    ] = False
    per_second: Annotated[
        float,
        Field(ge=0, le=1000),
        Option(
            "How many requests a second the relay may make at most. 0: as many as the service "
            "allows and is quick enough for.",
            "a number from 0 to 1000",
        ),
    ] = 0.0


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
    deliveries_per_minute: Annotated[
        int,
        Field(ge=1, le=1_000_000_000),
        Option(
            "How many deliveries to followers the posts of one author may bring about in a minute. "
            "Above it he is told when to try again. Whoever has more followers than that may "
            "post, as seldom as it has to be.",
            "a whole number from 1 to 1000000000",
        ),
    ] = 600_000
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
class Web:
    """Feeds and pages. Without `listen` there are none."""

    listen: Annotated[
        Listen,
        Option(
            "Where pages are served, for a web server in front that has a certificate.",
            "a host and a port such as 127.0.0.1:8080",
            optional=True,
        ),
    ] = ""
    base_url: Annotated[
        PageUrl,
        Option(
            "The address at which people see these pages. It may have a path, where there are "
            "other things beside them; the web server may pass that path on or take it away.",
            "an https address such as https://relay.example.org",
            optional=True,
        ),
    ] = ""


@dataclass(frozen=True, slots=True)
class Feeds:
    """Feeds of public posts, besides those that are served."""

    directory: Annotated[
        str,
        Option(
            "A folder to which the public feeds are written as files, for a web server that serves "
            "them while the relay is down. A path that does not begin with / counts from this "
            "file's folder.",
            "the path of a folder that the relay's user can write to",
            optional=True,
        ),
    ] = ""
    hub: Annotated[
        WebUrl,
        Option(
            "A WebSub hub, which is told of new posts in public feeds and tells their readers.",
            "the https address of a hub",
            optional=True,
        ),
    ] = ""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long posts are kept."""

    posts: Annotated[
        Kept,
        Option(
            "How long a post is kept. Older ones are removed, a few at a time, but for what "
            "somebody has yet to get, what the primary has not settled, and what newer posts "
            "show.",
            "a number of days such as 400d, from 30d to 3660d, or forever",
        ),
    ] = timedelta(days=400)
    waiting: Annotated[
        Kept,
        Option(
            "Whoever was not seen for so long holds nothing back any more but what is for him "
            "alone: direct messages, replies to him, mentions.",
            "a number of days such as 800d, from 30d to 3660d, or forever",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, checked and complete."""

    xmpp: Xmpp
    store: Store = Store()
    primary: Primary = Primary()
    contact: Contact = Contact()
    registration: Registration = Registration()
    limits: Limits = Limits()
    web: Web = Web()
    feeds: Feeds = Feeds()
    retention: Retention = Retention()
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
    "primary": Primary,
    "contact": Contact,
    "registration": Registration,
    "limits": Limits,
    "web": Web,
    "feeds": Feeds,
    "retention": Retention,
    "log": Log,
}
"""The tables of the file, in the order of the sample."""

OPTIONS: Final[Mapping[str, Mapping[str, Entry]]] = {
    name: _entries(table) for name, table in TABLES.items()
}
"""All options by table and key."""

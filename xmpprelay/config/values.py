"""What one value of the configuration must be like, and what people are told about it.

A type here is for `Annotated` in `options.py`. The function in it returns the value as the relay
will use it, or raises ValueError with words that continue the value: "… can match no handle".
"""

import base64
import binascii
import hmac
import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator

from xmpprelay.config.addresses import bare_jid, domain_name


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


@dataclass(frozen=True, slots=True)
class Option:
    """What people are told about an option."""

    about: str  # what it is for
    allowed: str  # what may be given; continues "give …"
    fill_in: bool = False  # the sample leaves it empty, for the operator to fill in
    optional: bool = False  # the sample only mentions it
    private: bool = False  # a value given for it is never repeated in a problem


# --- Names and addresses -------------------------------------------------------------------------


def _local_part(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9_.-]{1,64}", value):
        raise ValueError("cannot be the part before the @ of an address")
    return value


def _host(value: str) -> str:
    if not _is_host(value):
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


def _table(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", value):
        raise ValueError("is no plain name of an SQL table")
    return value


def _node(value: str) -> str:
    if not value or not value.isprintable() or len(value.encode()) > 1023:  # RFC 7622 §3.4
        raise ValueError("cannot be the name of a node")
    return value


# --- URLs ----------------------------------------------------------------------------------------

_SQLITE: Final = r"sqlite:////[^?#\x00-\x1f]*[^/?#\x00-\x1f]"
_POSTGRESQL: Final = r"postgresql://[\x21-\x7e]+"


def _store_url(value: str) -> str:
    scheme = value.partition(":")[0].lower()
    if scheme.startswith("postgres"):
        raise ValueError("names PostgreSQL, which a later version will bring")
    if not re.fullmatch(_SQLITE, value):
        raise ValueError("is not the URL of an SQLite file with an absolute path")
    return value


def database_url(value: str) -> str:
    """The URL of the database that posts are inserted into."""
    if not re.fullmatch(f"{_SQLITE}|{_POSTGRESQL}", value):
        raise ValueError("is not the URL of a database")
    return value


def web_url(value: str) -> str:
    """The URL of something that posts are sent to."""
    _web_parts(value)
    return value


def base_url(value: str) -> str:
    """The URL of an instance, without anything that is not needed to tell it from others."""
    parts = _web_parts(value)
    if parts.path.strip("/") or parts.query:
        raise ValueError("has more than the address of an instance")
    name = parts.hostname or ""
    if ":" in name:
        name = f"[{name}]"
    usual = {"https": 443, "http": 80}[parts.scheme]
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{name}{port}"


def page_url(value: str) -> str:
    """The URL below which the relay's pages are seen, without a slash at its end."""
    parts = _web_parts(value)
    if parts.query:
        raise ValueError("has a ? in it")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parts.path):
        raise ValueError("has more in its path than plain names")
    return value.rstrip("/")


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not _is_host(host.removeprefix("[").removesuffix("]")):
        raise ValueError("is not a host and a port with a colon between them")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise ValueError("has no port from 1 to 65535 behind the last colon")
    return value


def _is_host(value: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_.:%-]{1,253}", value) is not None


def _web_parts(value: str) -> SplitResult:
    """The parts of an address on the web. Plain HTTP only where it does not leave the machine."""
    if not value.isprintable() or " " in value:
        raise ValueError("has a space or a control character in it")
    if not re.match("https?:", value, re.IGNORECASE):
        raise ValueError("does not begin with https://")
    try:
        parts = urlsplit(value)
        name, _ = parts.hostname or "", parts.port
        local = _is_here(name)
    except ValueError:
        raise ValueError("is not an address on the web") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a user name in it")
    if parts.fragment:
        raise ValueError("has a # in it")
    if parts.scheme == "http" and not local:
        raise ValueError("does not begin with https://")
    return parts


def _is_here(name: str) -> bool:
    """Whether a host is this machine; ValueError if it can be no host."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return domain_name(name) == "localhost"


# --- Secrets and spans ---------------------------------------------------------------------------


def one_line_secret(text: str) -> Secret:
    """The secret, or ValueError: it is empty, or more than one line."""
    if not text.strip():
        raise ValueError("is empty")
    if not text.isprintable():
        raise ValueError("has a line break or another control character in it")
    return Secret(text)


_WEBHOOK_BYTES: Final = range(24, 65)


def webhook_secret(text: str) -> Secret:
    """The same for what signs webhooks. Source: Standard Webhooks, "Signature scheme"."""
    secret = one_line_secret(text)
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith("whsec_") or len(key) not in _WEBHOOK_BYTES:
        raise ValueError("is not whsec_ and 24 to 64 bytes in base64")
    return secret


def _secret(value: object) -> object:
    return one_line_secret(value) if isinstance(value, str) else value


def _webhook_secret(value: object) -> object:
    return webhook_secret(value) if isinstance(value, str) else value


_UNITS: Final = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_LONGEST: Final = timedelta(days=366)


def _span(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("is no span of time")
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", value)
    span = timedelta() if found is None else int(found[1]) * _UNITS[found[2]]
    if not timedelta() < span <= _LONGEST:
        raise ValueError("is no span of time from 1m to 366d")
    return span


FOREVER: Final = "forever"
_KEPT: Final = (timedelta(days=30), timedelta(days=3660))


def _kept(value: object) -> object:
    """How long something is kept; None: for ever."""
    if value == FOREVER:
        return None
    found = re.fullmatch(r"([0-9]{1,6})d", value) if isinstance(value, str) else None
    span = timedelta() if found is None else timedelta(days=int(found[1]))
    if not _KEPT[0] <= span <= _KEPT[1]:
        raise ValueError(f'is neither "{FOREVER}" nor a number of days from 30d to 3660d')
    return span


def span_text(span: timedelta) -> str:
    """A span as it is written in the file: in the largest unit that fits."""
    unit = next(unit for unit in ("d", "h", "m") if span % _UNITS[unit] == timedelta())
    return f"{span // _UNITS[unit]}{unit}"


# --- Types for `options.py` ----------------------------------------------------------------------

Domain = Annotated[str, AfterValidator(domain_name)]
BareJid = Annotated[str, AfterValidator(bare_jid)]
LocalPart = Annotated[str, AfterValidator(_local_part)]
Host = Annotated[str, AfterValidator(_host)]
Listen = Annotated[str, AfterValidator(_listen)]
PageUrl = Annotated[str, AfterValidator(page_url)]
WebUrl = Annotated[str, AfterValidator(web_url)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]
OneLineSecret = Annotated[Secret, BeforeValidator(_secret)]
WebhookSecret = Annotated[Secret, BeforeValidator(_webhook_secret)]
Table = Annotated[str, AfterValidator(_table)]
Node = Annotated[str, AfterValidator(_node)]
Span = Annotated[timedelta, BeforeValidator(_span)]
Kept = Annotated[timedelta | None, BeforeValidator(_kept)]
Contacts = tuple[Annotated[str, AfterValidator(_contact)], ...]
Patterns = tuple[Annotated[str, AfterValidator(_pattern)], ...]
Instances = tuple[Annotated[str, AfterValidator(base_url)], ...]
Policy = Literal["register", "open", "closed"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]
Driver = Literal["none", "sql", "pubsub", "mastodon", "webhook"]
Shown = Literal["public", "unlisted"]
TooLong = Literal["link", "refuse", "split"]
Unsure = Literal["hold", "resend"]
RefusedParent = Literal["detach", "hold"]
OriginalTime = Literal["none", "suffix", "backdate"]

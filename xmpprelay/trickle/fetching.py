"""Attachments, fetched from addresses that anybody may have typed.

The relay stands in networks that strangers do not see, so an address must not make it ask somebody
there: https only, no redirects, and each address that a name leads to is looked at when the
connection is made, not before (a name may lead elsewhere the second time). What comes is small, is
there within seconds, and is a picture by its first bytes, whatever it is called.
"""

import asyncio
import ipaddress
import socket
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp

from xmpprelay.core.primary import File
from xmpprelay.log import get_logger

log = get_logger("trickle")

MOST_BYTES: Final = 8 << 20
WITHIN_S: Final = 5.0
AT_ONCE: Final = 4

_PICTURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (b"\xff\xd8\xff", "image/jpeg", "jpg"),
    (b"GIF87a", "image/gif", "gif"),
    (b"GIF89a", "image/gif", "gif"),
)
_LONGEST_NAME: Final = 60


class Fetching:
    """Fetches pictures. `anywhere` lets it ask this machine too, for tests; `ssl` likewise."""

    def __init__(
        self, *, anywhere: bool = False, ssl: Any = True, within_s: float = WITHIN_S
    ) -> None:
        self._anywhere = anywhere
        self._ssl = ssl
        self._within_s = within_s
        self._session: aiohttp.ClientSession | None = None
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, address: str) -> File | None:
        """The picture at an address; None: it is not to be had, or not to be trusted."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return None
        if parts.scheme != "https" or not parts.hostname or parts.username is not None:
            return None
        try:
            async with self._at_once, asyncio.timeout(self._within_s):
                content = await self._content(address)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.info("attachment.not_fetched", reason=type(error).__name__)
            return None
        return None if content is None else _picture(parts.path, content)

    async def _content(self, address: str) -> bytes | None:
        async with self._opened().get(address, allow_redirects=False, ssl=self._ssl) as answer:
            if answer.status != 200 or (answer.content_length or 0) > MOST_BYTES:
                return None
            content = bytearray()
            async for chunk in answer.content.iter_chunked(1 << 16):
                content += chunk
                if len(content) > MOST_BYTES:
                    return None
            return bytes(content)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                use_dns_cache=False, force_close=True, socket_factory=self._socket
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "xmpprelay", "Accept": "image/*"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _socket(self, address: Any) -> socket.socket:
        """The socket for one address that a name leads to; OSError: it is not for strangers."""
        family, kind, protocol, _, peer = address
        if not self._anywhere and not is_public(str(peer[0])):
            raise OSError("an address of a private network")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def is_public(host: str) -> bool:
    """Whether an IP address is one of the public Internet, also as it is written in IPv6."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address not in _GLOBAL_UNICAST:  # the rest stands for something else, or for nothing yet
            return False
    return address.is_global and not address.is_multicast


_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")


def _picture(path: str, content: bytes) -> File | None:
    kind = _kind(content)
    if kind is None:
        return None
    media_type, ending = kind
    stem = unquote(path.rpartition("/")[2]).rpartition(".")[0]
    kept = "".join(c for c in stem if c.isascii() and (c.isalnum() or c in "-_"))
    return File(f"{kept[:_LONGEST_NAME] or 'picture'}.{ending}", media_type, content)


def _kind(content: bytes) -> tuple[str, str] | None:
    """The media type and the usual ending of a picture, by its first bytes; None: it is none."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp", "webp"
    found = (each[1:] for each in _PICTURES if content.startswith(each[0]))
    return next(found, None)

"""HTTP to the services that the operator has named, and to nothing else.

Each request ends with an `Answer` or a `Failure` (`answers.py`); nothing that a network or a server
can do raises. What a failure must say is whether a byte of the request may have left. aiohttp
tells when it has a connection, with TLS: until then nothing has left, from then on all is possible.

Redirects are not followed, cookies not kept, proxies of the environment not used. An answer is cut
at 1 MiB, and asked for uncompressed, so that its size is what it says.
"""

import json
import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from yarl import URL

from xmpprelay import __version__
from xmpprelay.core.primary import File
from xmpprelay.errors import ConfigError
from xmpprelay.primary.answers import Answer, Failure, detail

CONNECT_S: Final = 10.0
TOTAL_S: Final = 30.0
"""Well below the settle time: what has not been answered by then counts as unclear."""

MAX_ANSWER_BYTES: Final = 1 << 20

_KEEP_S: Final = 3.0
"""How long an idle connection is kept. Servers close theirs after five seconds and more; one that
is closed just when it is used again makes an outcome unclear for nothing."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def uncounted() -> None:
    """Nobody wants to know how many requests there are."""


class Http:
    """Requests to the given base URLs; one pool of connections. `leaves` is called at each.

    Made anywhere; the first request needs the event loop. Raises ConfigError if `ca_file`, the
    certificates to be trusted besides the system's, cannot be read.
    """

    def __init__(
        self,
        bases: Iterable[str],
        *,
        ca_file: Path | None = None,
        connect_s: float = CONNECT_S,
        total_s: float = TOTAL_S,
        now: Callable[[], datetime] = _utc_now,
        leaves: Callable[[], None] = uncounted,
    ) -> None:
        self._bases = {base: URL(base) for base in bases}
        self._tls = _trusting(ca_file)
        self._connect_s = connect_s
        self.total_s = total_s  # how long a request may take in all
        self._now = now
        self._leaves = leaves
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        base: str,
        path: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str = "",
        json: object = None,
        form: Mapping[str, str] | None = None,
        file: File | None = None,
        body: bytes | None = None,
        patience: float = 1.0,
    ) -> Answer | Failure:
        """One request, with at most one of the four bodies; `path` is put behind the base as it is.

        `file` goes as the field `file` of a form, `body` as the headers say. `patience` is how many
        times longer than usual it may take.
        """
        if base not in self._bases:
            return Failure(
                False, "not_configured", f"{detail(base)} is not among the services here."
            )
        self._leaves()
        trace = SimpleNamespace(connected=False)
        try:
            async with self._opened().request(
                method,
                _url(self._bases[base], path, query),
                headers=_headers(headers, token, json),
                data=_data(json, form, file, body),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=patience * self.total_s, connect=self._connect_s
                ),
                trace_request_ctx=trace,
            ) as response:
                content = await _up_to(response.content, MAX_ANSWER_BYTES)
                return Answer(response.status, _lower(response.headers), content, self._now())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return _failure(error, sent=trace.connected, host=self._bases[base].host or base)

    async def aclose(self) -> None:
        """Close the connections; nothing is asked afterwards."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_create_end.append(_connected)
            tracing.on_connection_reuseconn.append(_connected)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, keepalive_timeout=_KEEP_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"xmpprelay/{__version__}", "Accept-Encoding": "identity"},
                auto_decompress=False,
                trace_configs=[tracing],
                middlewares=[_once],
            )
        return self._session


class _Lost(aiohttp.ClientError):
    """The connection was lost when it stood."""


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp sends a GET, PUT or DELETE twice when the connection is lost, if it sees the loss."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Lost from error


async def _connected(_session: object, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.connected = True


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    tls = ssl.create_default_context()
    if ca_file is not None:
        try:
            tls.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{ca_file} cannot be read as certificates: give a file in PEM form."
            ) from error
    return tls


def _url(base: URL, path: str, query: Mapping[str, str] | None) -> URL:
    url = URL(str(base).rstrip("/") + path, encoded=True) if path else base
    return url.update_query(query) if query else url


def _headers(given: Mapping[str, str] | None, token: str, json: object) -> dict[str, str]:
    headers = dict(given or {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if json is not None:
        headers["Content-Type"] = "application/json"
    return headers


def _data(
    value: object, form: Mapping[str, str] | None, file: File | None, body: bytes | None
) -> Any:
    if value is not None:
        return json.dumps(value).encode()
    if file is not None:
        data = aiohttp.FormData()
        data.add_field("file", file.content, filename=file.name, content_type=file.media_type)
        return data
    return body if form is None else dict(form)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    lower: dict[str, str] = {}
    for name, value in headers.items():
        lower.setdefault(name.lower(), value)
    return lower


async def _up_to(content: aiohttp.StreamReader, most_bytes: int) -> bytes:
    parts = bytearray()
    async for part in content.iter_any():
        parts += part
        if len(parts) > most_bytes:
            break
    return bytes(parts[:most_bytes])


def _failure(error: Exception, *, sent: bool, host: str) -> Failure:
    """What has happened, in words for the operator; the error's own may quote what it choked on."""
    if sent:
        if isinstance(error, TimeoutError):
            return Failure(True, "timeout", f"{host} has not answered in time.")
        if isinstance(
            error, (_Lost, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)
        ):
            return Failure(True, "reset", f"{host} has closed the connection before it answered.")
        return Failure(True, "bad_answer", f"What {host} has answered is not HTTP.")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or "not for this name"
        return Failure(
            False,
            "tls",
            f"The certificate of {host} is not to be trusted ({detail(why)}): renew it, or, if it "
            "is a private one, name the file of its authority in `primary.ca_file`.",
        )
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return Failure(
            False, "tls", f"{host} does not speak TLS there: look at the URL and its port."
        )
    if isinstance(error, TimeoutError):
        return Failure(False, "timeout", f"{host} could not be reached in time.")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failure(False, "dns", f"The name {host} was not found: look at the URL and the DNS.")
    if isinstance(getattr(error, "os_error", error), ConnectionRefusedError):
        return Failure(
            False, "refused", f"Nothing listens at {host}: it is down, or the port wrong."
        )
    return Failure(False, "unreachable", f"{host} could not be reached: look at the network.")

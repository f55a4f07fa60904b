"""What all answers have: headers that keep a browser from harm, the words of errors, the log.

    Content-Security-Policy    nothing is loaded or run but our own style sheet and pictures
    X-Content-Type-Options     nobody guesses that a post might be a script
    Referrer-Policy            an address with a secret in it is told to no other site

The log has one line a request at the level `debug`, since whoever serves pages has a proxy in front
that writes one. It names neither who asks nor what would let somebody else read a secret feed.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from xmpprelay.log import get_logger

log = get_logger("web")

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'none'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "xmpprelay",  # no version: it tells nobody which holes to try
}

SECRETS: Final = ("home", "mentions")
"""Parts of a path behind which a secret follows."""

NO_ROUTE: Final = "none"
"""The route of what led nowhere, in counts."""

ROUTE: Final = web.RequestKey("route", str)
"""Of a request: the route that it took."""

_KEPT: Final = ("Allow", "Location", "Retry-After")  # headers of an error that its page has too
_SENTENCES: Final[Mapping[int, str]] = {
    400: "This is no request that can be understood, or one with too much in it.",
    404: "There is nothing at this address.",
    405: "This can only be read, with GET or HEAD.",
    413: "Nothing can be sent along with a question.",
    500: "Something went wrong here; the relay's log says what. Try again.",
    504: "This took too long. Try again.",
}

ErrorPage = Callable[[int, str], web.Response]
"""The page for a status and a sentence that says what is the matter."""


def plain_page(status: int, sentence: str) -> web.Response:
    """An error as a line of text."""
    return web.Response(status=status, text=f"{sentence}\n")


class Answers:
    """Gives every answer its headers, and errors their page; counts what has been answered."""

    def __init__(self) -> None:
        self.page: ErrorPage = plain_page
        self.counts: Counter[tuple[str, int]] = Counter()  # by route and status
        self.failures = 0  # of ours, while answering

    def dressed(self, request: web.BaseRequest, answer: web.StreamResponse) -> web.StreamResponse:
        """The answer as it is sent."""
        if isinstance(answer, web.HTTPException) and answer.status >= 400:
            answer = self._error_page(answer)
        elif isinstance(answer, web.HTTPRedirection):
            # Kept, it would lead on when it does so no more, as after a handle is taken back.
            answer.headers.setdefault("Cache-Control", "no-store")
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    def error(
        self, request: web.BaseRequest, status: int, failure: BaseException | None
    ) -> web.StreamResponse:
        """The page for what is no request, or for a failure of ours, which is logged."""
        if status >= 500:
            self.failures += 1
            log.error("page.failed", path=shown_path(request), exc_info=failure)
        return self._page(status, _sentence(status))

    def sent(self, request: web.BaseRequest, answer: web.StreamResponse) -> None:
        """An answer has been sent, or its client has gone."""
        route = request.get(ROUTE, NO_ROUTE)
        self.counts[route, answer.status] += 1
        log.debug(
            "page.answered",
            method=request.method,
            path=shown_path(request),
            status=answer.status,
        )

    def _error_page(self, error: web.HTTPException) -> web.Response:
        usual = f"{error.status}: {error.reason}"
        own = error.text and error.text != usual and error.status != 417  # there aiohttp quotes
        said = error.text if own and error.text else _sentence(error.status)
        page = self._page(error.status, said)
        for name in _KEPT:
            if name in error.headers:
                page.headers[name] = error.headers[name]
        if error.keep_alive is False:
            page.force_close()
        return page

    def _page(self, status: int, sentence: str) -> web.Response:
        try:
            page = self.page(status, sentence)
        except Exception as failure:
            self.failures += 1
            log.error("page.failed", path="error", exc_info=failure)
            page = plain_page(status, sentence)
        page.headers["Cache-Control"] = "no-store"
        return page


def shown_path(request: web.BaseRequest) -> str:
    """The path for the log: what follows on `/home` or `/mentions` is a secret, or was meant to be.

    The same where somebody has written the part before it otherwise.
    """
    parts = request.rel_url.raw_path.split("/")
    for place, part in enumerate(parts[:-1]):
        if unquote(part).strip().lower() in SECRETS:
            return "/".join([*parts[: place + 1], "…"])
    return "/".join(parts)


def _sentence(status: int) -> str:
    if status in _SENTENCES:
        return _SENTENCES[status]
    return f"{HTTPStatus(status).phrase}."

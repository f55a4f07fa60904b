"""Logging in at an instance: how the relay is registered there, and how it gets a token (RFC 6749).

The code is shown to the author by the instance (`urn:ietf:wg:oauth:2.0:oob`) and reaches the relay
by chat, so there is no address to be sent back to. The verifier (RFC 7636, S256) is always given:
an instance that does not know it leaves it aside (RFC 6749 §3.1).

Each function makes the requests that its docstring names, and never raises for what a network or a
server can do: then it gives `Failed`.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from xmpprelay.primary.answers import Answer, Failure
from xmpprelay.primary.http import Http

SCOPES: Final = "read:accounts read:statuses write:statuses write:media"
"""The least that is needed: to verify and to look, to insert and to upload."""

OUT_OF_BAND: Final = "urn:ietf:wg:oauth:2.0:oob"
APPLICATION: Final = "xmpprelay"

PAGES: Final = 5
_PAGE: Final = 80  # accounts on one, the most that Mastodon gives
_NEXT: Final = re.compile(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class Client:
    """The relay, as an instance knows it."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Who:
    """An account, as an instance names it."""

    remote_id: str
    name: str  # `alice`, or `alice@other.example` of another instance


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not work."""

    reason: str  # short stable code
    certain: bool = False  # the instance has said no; else it may work another time


def new_verifier() -> str:
    """A secret for one login (RFC 7636 §4.1)."""
    return secrets.token_urlsafe(48)


def authorize_url(site: str, client: Client, verifier: str) -> str:
    """The address that an author opens, to let the relay write in his name."""
    digest = hashlib.sha256(verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": OUT_OF_BAND,
        "scope": SCOPES,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    return f"{site}/oauth/authorize?{urlencode(query)}"


async def register(http: Http, site: str) -> Client | Failed:
    """Make the relay known to an instance: `POST /api/v1/apps`."""
    form = {
        "client_name": APPLICATION,
        "redirect_uris": OUT_OF_BAND,
        "scopes": SCOPES,
    }
    found = _object(await http.request("POST", site, "/api/v1/apps", form=form))
    if isinstance(found, Failed):
        return found
    client_id, secret = found.get("client_id"), found.get("client_secret")
    if not isinstance(client_id, str) or not isinstance(secret, str) or not client_id:
        return Failed("bad_answer")
    return Client(client_id, secret)


async def exchange(http: Http, site: str, client: Client, code: str, verifier: str) -> str | Failed:
    """The token for a code: `POST /oauth/token`. `invalid_client`: the relay is not known there."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "redirect_uri": OUT_OF_BAND,
        "scope": SCOPES,
        "code_verifier": verifier,
    }
    found = _object(await http.request("POST", site, "/oauth/token", form=form))
    if isinstance(found, Failed):
        return found
    token = found.get("access_token")
    return token if isinstance(token, str) and token else Failed("bad_answer")


async def whose(http: Http, site: str, token: str) -> Who | Failed:
    """Whose token it is: `GET /api/v1/accounts/verify_credentials`."""
    path = "/api/v1/accounts/verify_credentials"
    found = _object(await http.request("GET", site, path, token=token))
    if isinstance(found, Failed):
        return found
    who = _who(found)
    return Failed("bad_answer") if who is None else who


async def revoke(http: Http, site: str, client: Client, token: str) -> bool:
    """Make a token invalid: `POST /oauth/revoke`; whether the instance says that it is."""
    form = {
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "token": token,
    }
    answer = await http.request("POST", site, "/oauth/revoke", form=form)
    return isinstance(answer, Answer) and answer.status == 200


async def following(http: Http, site: str, token: str, remote_id: str) -> list[Who]:
    """Whom an account follows, the newest 400: `GET /api/v1/accounts/{id}/following`, by pages.

    What cannot be read is left away.
    """
    found: list[Who] = []
    query = {"limit": str(_PAGE)}
    path = f"/api/v1/accounts/{_path_part(remote_id)}/following"
    for _ in range(PAGES):
        answer = await http.request("GET", site, path, query=query, token=token)
        if not isinstance(answer, Answer) or answer.status != 200:
            break
        found += _everybody(answer.json())
        older = _older(answer)
        if older is None:
            break
        query = {"limit": str(_PAGE), "max_id": older}
    return found


def _object(answer: Answer | Failure) -> dict[str, Any] | Failed:
    if isinstance(answer, Failure):
        return Failed(answer.reason)
    found = answer.json()
    if answer.status == 200 and isinstance(found, dict):
        return found
    if answer.status == 200:
        return Failed("bad_answer")
    error = found.get("error") if isinstance(found, dict) else None
    if error == "invalid_client":
        return Failed("invalid_client", certain=True)
    refused = 400 <= answer.status < 500 and answer.status not in (408, 429)
    return Failed(f"http_{answer.status}", certain=refused)


def _everybody(found: object) -> Iterator[Who]:
    for each in found if isinstance(found, list) else []:
        who = _who(each) if isinstance(each, dict) else None
        if who is not None:
            yield who


def _who(found: dict[str, Any]) -> Who | None:
    remote_id, name = found.get("id"), found.get("acct") or found.get("username")
    if not isinstance(remote_id, str) or not isinstance(name, str) or not remote_id or not name:
        return None
    return Who(remote_id, name)


def _older(answer: Answer) -> str | None:
    """What asks for the next page. Only the mark is taken, never an address (RFC 8288 §3)."""
    link = _NEXT.search(answer.headers.get("link", ""))
    marks = parse_qs(urlsplit(link[1]).query).get("max_id", []) if link is not None else []
    return marks[0] if marks else None


def _path_part(text: str) -> str:
    return urlencode({"": text})[1:]

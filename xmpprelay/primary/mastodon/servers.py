"""Requests to the servers of the operator's list, and what is known of each.

A request gives the answer of a success, or a `Result`: what it means that it is none. What a server
is, is known once it was asked. Until then the least is assumed (`profiles.UNKNOWN`), and what could
do harm asks first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from xmpprelay.core.primary import Account, File, Outcome, Result, Scope
from xmpprelay.primary.answers import Answer, Failure
from xmpprelay.primary.http import Http
from xmpprelay.primary.mastodon.instance import Site, nodeinfo_path, site_of, software_of
from xmpprelay.primary.mastodon.meaning import refusal
from xmpprelay.primary.mastodon.profiles import UNKNOWN, Profile

VERIFY: Final = "/api/v1/accounts/verify_credentials"

UPLOAD_PATIENCE: Final = 4.0  # a request with an attachment may take so many times longer

NOT_LISTED: Final = Result(
    Outcome.AUTH,
    scope=Scope.ACCOUNT,
    reason="not_configured",
    detail="The operator does not list this instance any more: link another one.",
)


class Servers:
    """The servers whose base URLs are `sites`; `http` must know them."""

    def __init__(self, http: Http, sites: Sequence[str]) -> None:
        self._http = http
        self._sites = tuple(sites)
        self._known: dict[str, Site] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # What is known

    def known(self, account: Account) -> Site | None:
        """What is known of the account's server; None: it was not asked yet."""
        return self._known.get(self._base(account) or "")

    def profile(self, account: Account) -> Profile:
        """The same, or what is assumed."""
        site = self.known(account)
        return UNKNOWN if site is None else site.profile

    async def learn(self, account: Account) -> Site | Result:
        """Ask the server what it is: nodeinfo for the software, `/api/v2/instance` or v1.

        One that has no nodeinfo is an unknown one; one that tells its limits to nobody has those
        that Mastodon had at first; one that has neither is not of this API.
        """
        base = self._base(account)
        if base is None:
            return NOT_LISTED
        links = await self._public(base, account, "/.well-known/nodeinfo")
        if isinstance(links, Result):
            return links
        nodeinfo = await self._public(base, account, nodeinfo_path(links.json()))
        if isinstance(nodeinfo, Result):
            return nodeinfo
        software = software_of(nodeinfo.json())
        for path in ("/api/v2/instance", "/api/v1/instance"):
            answer = await self._public(base, account, path)
            if isinstance(answer, Result):
                return answer
            instance = {} if answer.status in (401, 403) else answer.json()
            if answer.status in (200, 401, 403) and isinstance(instance, dict):
                self._known[base] = site_of(software, instance)
                return self._known[base]
        return Result(
            Outcome.UNKNOWN,
            scope=Scope.DRIVER,
            reason="no_such_api",
            detail="There is no server with Mastodon's API: look at the URL.",
        )

    # Requests

    async def ask(self, account: Account, method: str, path: str, **how: Any) -> Answer | Result:
        """A request, of which a 400 or 403 is looked into: it may be the token's fault.

        While nobody can say whose it is, the post waits. `how` is as for `send`.
        """
        answer = await self.send(account, method, path, **how)
        if isinstance(answer, Answer) or answer.reason not in ("http_400", "http_403"):
            return answer
        verified = await self.send(account, "GET", VERIFY)
        wait_s = None
        if isinstance(verified, Result):
            if is_about_token(verified):
                return replace(answer, outcome=Outcome.AUTH, scope=Scope.ACCOUNT)
            wait_s = verified.retry_after_s
        elif isinstance(verified.json(), dict):
            return answer
        return replace(answer, outcome=Outcome.RETRY, scope=Scope.ACCOUNT, retry_after_s=wait_s)

    async def send(
        self,
        account: Account,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: dict[str, Any] | None = None,
        file: File | None = None,
        key: str = "",
    ) -> Answer | Result:
        """One request in the account's name, and its answer at its word."""
        base = self._base(account)
        if base is None:
            return NOT_LISTED
        answer = await self._http.request(
            method,
            base,
            path,
            query=query,
            token=account.token,
            headers={"Idempotency-Key": key} if key else None,
            json=body,
            file=file,
            patience=1.0 if file is None else UPLOAD_PATIENCE,
        )
        if isinstance(answer, Failure):
            return answer.result()
        return refusal(answer, self.profile(account), (account.token,)) or answer

    async def _public(self, base: str, account: Account, path: str) -> Answer | Result:
        """What anybody may read, without a token: a wrong one would be refused even here.

        What the server refuses says something as well, so it is an answer.
        """
        answer = await self._http.request("GET", base, path)
        if isinstance(answer, Failure):
            return answer.result()
        if answer.status >= 500 or answer.status == 429:
            return refusal(answer, UNKNOWN, (account.token,)) or answer
        return answer

    def _base(self, account: Account) -> str | None:
        if not account.site:
            return self._sites[0]
        return account.site if account.site in self._sites else None


def is_about_token(verified: Result) -> bool:
    """Whether VERIFY was refused because the token does not hold: Takahē says so with 400."""
    return verified.reason in ("http_400", "http_401", "http_403", NOT_LISTED.reason)

"""The driver for servers with Mastodon's API: requests, and what their answers mean.

What is different between servers is in `profiles.py`; what answers mean, in `meaning.py`; how an
unclear attempt is looked for, in `looking.py` and `matching.py`. The limits of a server are known
from a probe. Before one, the least is assumed, and only what could do harm asks first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any, Final
from urllib.parse import quote

from xmpprelay.core.primary import (
    Absent,
    Account,
    Attempt,
    Candidate,
    CannotTell,
    File,
    Found,
    Look,
    LookFailed,
    Outcome,
    Probe,
    Reach,
    Result,
    Scope,
    Status,
    Visibility,
)
from xmpprelay.primary.answers import Answer, Failure
from xmpprelay.primary.http import Http
from xmpprelay.primary.mastodon.instance import Site, nodeinfo_path, site_of, software_of
from xmpprelay.primary.mastodon.login import APPLICATION
from xmpprelay.primary.mastodon.looking import OwnList, status_path
from xmpprelay.primary.mastodon.matching import (
    Likeness,
    application_of,
    likeness,
    same_source,
)
from xmpprelay.primary.mastodon.meaning import candidate_of, done, id_of, no_json, refusal
from xmpprelay.primary.mastodon.profiles import UNKNOWN, Profile

VERIFY: Final = "/api/v1/accounts/verify_credentials"
REFUSED_CREDENTIALS: Final = (400, 401, 403)  # Takahē answers a wrong token with 400

UPLOAD_PATIENCE: Final = 4.0  # a request with an attachment may take so many times longer
MEDIA_WAIT_S: Final = 5.0
"""How long a server is given to work on an attachment before it is tried again; a guess."""


class Mastodon:
    """A `Primary` on servers with Mastodon's API (`primary/base.py`).

    `sites` are the base URLs of the operator's list, which `http` must know; the first is the one
    of accounts that name none, and of probes without an account. `read_back` asks for each new
    status once more, since a server may drop what it takes for spam and say nothing.
    """

    def __init__(self, http: Http, sites: Sequence[str], *, read_back: bool = False) -> None:
        self._http = http
        self._sites = tuple(sites)
        self._read_back = read_back
        self._known: dict[str, Site] = {}

    async def probe(self, account: Account | None = None) -> Probe:
        """What the server is; with an account, whether its credentials hold.

        For an account, a server that is known is not asked again what it is.
        """
        account = account or Account(0)
        base = self._base(account)
        if base is None:
            gone = _not_listed()
            return Probe(Reach.AUTH, reason=gone.reason, detail=gone.detail)
        known = self._known.get(base) if account.token else None
        found = known or await self._learn(base, account)
        if isinstance(found, Result):
            return _down(found)
        if account.token:
            answer = await self._send(account, "GET", VERIFY)
            if isinstance(answer, Result):
                if answer.outcome is Outcome.AUTH or answer.reason in ("http_400", "http_403"):
                    return Probe(Reach.AUTH, found.caps, reason=answer.reason, detail=answer.detail)
                return _down(answer)
            if not isinstance(answer.json(), dict):
                return _down(no_json())
        return Probe(Reach.UP, found.caps)

    async def insert(self, account: Account, status: Status, key: str) -> Result:
        """`POST /api/v1/statuses`.

        What is refused with its language is tried without it, once and with a key of its own: a
        server may replay an error to the same key.
        """
        profile = await self._profile(account, ask=status.backdate)
        if isinstance(profile, Result):
            return profile
        result = await self._insert(account, status, key, profile)
        if result.reason == "http_400" and result.outcome is Outcome.REJECTED and status.language:
            bare = replace(status, language=None)
            return await self._insert(account, bare, f"{key}-bare", profile)
        return result

    async def edit(self, account: Account, remote_id: str, status: Status, key: str) -> Result:
        """`PUT /api/v1/statuses/{id}`; refused where it would show the status to more people."""
        profile = await self._profile(account, ask=status.visibility is not Visibility.PUBLIC)
        if isinstance(profile, Result):
            return profile
        if status.visibility not in profile.edits:
            return Result(
                Outcome.REJECTED,
                reason="edit_unsafe",
                detail="The service cannot edit such a post and keep it as private as it is.",
            )
        body: dict[str, Any] = {"status": status.text, "media_ids": list(status.media)}
        if status.language:
            body["language"] = status.language
        if profile.content_type:
            body["content_type"] = "text/plain"
        answer = await self._ask(account, "PUT", status_path(remote_id), body=body, key=key)
        return answer if isinstance(answer, Result) else done(answer)

    async def delete(self, account: Account, remote_id: str) -> Result:
        """`DELETE /api/v1/statuses/{id}`; that it is not there is what was wanted."""
        answer = await self._ask(account, "DELETE", status_path(remote_id))
        if isinstance(answer, Result):
            if answer.reason == "http_404" and answer.outcome is Outcome.REJECTED:
                return Result(Outcome.INSERTED, remote_id)
            return answer
        if answer.body.strip() and not isinstance(answer.json(), dict):
            return no_json()
        return Result(Outcome.INSERTED, remote_id)

    async def upload(self, account: Account, file: File) -> Result:
        """`POST /api/v2/media`. It may still be worked on: an insertion that comes too early is
        RETRY."""
        answer = await self._ask(account, "POST", "/api/v2/media", file=file)
        if isinstance(answer, Result):
            return answer
        return replace(done(answer), remote_time=None)

    async def reconcile(self, account: Account, attempt: Attempt) -> Look:
        """Look through the account's own list; `looking.py` says how far."""
        profile, status = await self._profile(account, ask=True), attempt.status
        if isinstance(profile, Result):
            return LookFailed(profile)
        if status.visibility not in profile.shows:
            return CannotTell(f"This service does not list {status.visibility} posts.")
        remote_id = account.remote_id or await self._own_id(account)
        if isinstance(remote_id, Result):
            return LookFailed(remote_id)

        async def ask(path: str, query: Mapping[str, str]) -> Answer | Result:
            return await self._ask(account, "GET", path, query=query)

        backdated = status.backdate and profile.backdate
        first_at = status.published if backdated else attempt.first_sent_at
        own = OwnList(ask, remote_id, first_at, by_ours=not backdated)
        listed = await own.read(None if backdated else attempt.high_water)
        if isinstance(listed, Result):
            return LookFailed(listed)
        alike = {
            kind: [each for each in listed if likeness(each, status, own.since, profile) is kind]
            for kind in (Likeness.SAME, Likeness.NEAR)
        }
        unsure = False
        for each in alike[Likeness.NEAR]:
            source = await self._source(account, each)
            if isinstance(source, Result):
                return LookFailed(source)
            unsure = unsure or source is None
            if source is not None and same_source(source, status, profile):
                alike[Likeness.SAME].append(each)
        matching = await self._by_us(account, alike[Likeness.SAME])
        if isinstance(matching, Result):
            return LookFailed(matching)
        if matching:
            return Found(_oldest_first(matching, listed))
        if unsure:
            return CannotTell("Something like it is there, with an altered text.")
        return Absent()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # What is known of a server

    def _base(self, account: Account) -> str | None:
        if not account.site:
            return self._sites[0]
        return account.site if account.site in self._sites else None

    async def _profile(self, account: Account, *, ask: bool) -> Profile | Result:
        """What is known of the account's server; if nothing is, it is asked, or UNKNOWN."""
        base = self._base(account)
        if base is None:
            return _not_listed()
        site = self._known.get(base)
        if site is None and ask:
            found = await self._learn(base, account)
            if isinstance(found, Result):
                return found
            site = found
        return UNKNOWN if site is None else site.profile

    async def _learn(self, base: str, account: Account) -> Site | Result:
        """Nodeinfo says which software it is, `/api/v2/instance` or v1 what its limits are.

        A server that has no nodeinfo is an unknown one; one that keeps its instance to itself has
        Mastodon's first limits; one that has none of both is none of this API.
        """
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
            instance = answer.json()
            if answer.status in (401, 403):
                instance = {}
            elif answer.status != 200 or not isinstance(instance, dict):
                continue
            site = site_of(software, instance)
            self._known[base] = site
            return site
        return Result(
            Outcome.UNKNOWN,
            scope=Scope.DRIVER,
            reason="no_such_api",
            detail="There is no server with Mastodon's API: look at the URL.",
        )

    async def _public(self, base: str, account: Account, path: str) -> Answer | Result:
        """What anybody may read; an answer of 4xx says something as well."""
        answer = await self._http.request("GET", base, path, token=account.token)
        if isinstance(answer, Failure):
            return answer.result()
        if answer.status >= 500 or answer.status == 429:
            return refusal(answer, UNKNOWN, (account.token,)) or no_json()
        return answer

    # Requests

    async def _insert(self, account: Account, status: Status, key: str, profile: Profile) -> Result:
        body: dict[str, Any] = {"status": status.text, "visibility": status.visibility.value}
        if status.language:
            body["language"] = status.language
        if status.in_reply_to:
            body["in_reply_to_id"] = status.in_reply_to
        if status.media:
            body["media_ids"] = list(status.media)
        if status.backdate and profile.backdate:
            published = status.published.astimezone(UTC)
            body["scheduled_at"] = published.isoformat(timespec="milliseconds")
        if profile.content_type:
            body["content_type"] = "text/plain"
        if profile.checks_mentions and not status.mentions:
            body["allowed_mentions"] = []
        answer = await self._ask(account, "POST", "/api/v1/statuses", body=body, key=key)
        if isinstance(answer, Result):
            if answer.reason == "http_422" and await self._works_on(account, status.media):
                return replace(
                    answer,
                    outcome=Outcome.RETRY,
                    scope=Scope.ACCOUNT,
                    retry_after_s=MEDIA_WAIT_S,
                    reason="media_processing",
                )
            return answer
        result = done(answer, status)
        if self._read_back and result.remote_id is not None:
            return await self._there(account, result, result.remote_id)
        return result

    async def _there(self, account: Account, result: Result, remote_id: str) -> Result:
        answer = await self._send(account, "GET", status_path(remote_id))
        if isinstance(answer, Result) and answer.reason == "http_404":
            return Result(
                Outcome.REJECTED,
                reason="accepted_but_dropped",
                detail="The service has taken the post and dropped it, as it does with spam.",
            )
        return result

    async def _works_on(self, account: Account, media: Sequence[str]) -> bool:
        """Whether the server is not through with an attachment (206)."""
        for each in media:
            answer = await self._send(account, "GET", f"/api/v1/media/{quote(each, safe='')}")
            if isinstance(answer, Answer) and answer.status == 206:
                return True
        return False

    async def _own_id(self, account: Account) -> str | Result:
        answer = await self._ask(account, "GET", VERIFY)
        if isinstance(answer, Result):
            return answer
        found = answer.json()
        remote_id = id_of(found) if isinstance(found, dict) else None
        return no_json() if remote_id is None else remote_id

    async def _source(self, account: Account, found: dict[str, Any]) -> str | Result | None:
        """The text as it was typed; None: the server does not give it."""
        answer = await self._ask(account, "GET", status_path(str(id_of(found)), "/source"))
        if isinstance(answer, Result):
            return None if answer.outcome is Outcome.REJECTED else answer
        source = answer.json()
        text = source.get("text") if isinstance(source, dict) else None
        return text if isinstance(text, str) else None

    async def _by_us(
        self, account: Account, found: list[dict[str, Any]]
    ) -> list[dict[str, Any]] | Result:
        """Those that were not made with another application of the person's."""
        if all(application_of(each) in (None, APPLICATION) for each in found):
            return found
        answer = await self._ask(account, "GET", "/api/v1/apps/verify_credentials")
        if isinstance(answer, Result):
            return found if answer.outcome is Outcome.REJECTED else answer
        application = answer.json()
        name = application_of({"application": application})
        return [each for each in found if name is None or application_of(each) in (None, name)]

    async def _ask(self, account: Account, method: str, path: str, **how: Any) -> Answer | Result:
        """The answer of a success, or what it means that it is none.

        A 400 or 403 may be the token's fault. While nobody can say whose it is, the post waits.
        """
        answer = await self._send(account, method, path, **how)
        if isinstance(answer, Answer) or answer.reason not in ("http_400", "http_403"):
            return answer
        verified = await self._send(account, "GET", VERIFY)
        if isinstance(verified, Answer):
            return answer if isinstance(verified.json(), dict) else _put_off(answer, None)
        if verified.outcome is Outcome.AUTH or verified.reason in ("http_400", "http_403"):
            return replace(answer, outcome=Outcome.AUTH, scope=Scope.ACCOUNT)
        return _put_off(answer, verified.retry_after_s)

    async def _send(
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
        base = self._base(account)
        if base is None:
            return _not_listed()
        site = self._known.get(base)
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
        profile = UNKNOWN if site is None else site.profile
        return refusal(answer, profile, (account.token,)) or answer


def _not_listed() -> Result:
    return Result(
        Outcome.AUTH,
        scope=Scope.ACCOUNT,
        reason="not_configured",
        detail="The operator does not list this instance any more: link another one.",
    )


def _down(result: Result) -> Probe:
    return Probe(
        Reach.DOWN,
        retry_after_s=result.retry_after_s,
        reason=result.reason,
        detail=result.detail,
    )


def _put_off(result: Result, retry_after_s: float | None) -> Result:
    return replace(result, outcome=Outcome.RETRY, scope=Scope.ACCOUNT, retry_after_s=retry_after_s)


def _oldest_first(
    matching: Sequence[dict[str, Any]], listed: Sequence[dict[str, Any]]
) -> tuple[Candidate, ...]:
    """In the order of the list, which is by time."""
    chosen = {id(each) for each in matching}
    candidates = (candidate_of(each) for each in listed if id(each) in chosen)
    return tuple(each for each in candidates if each is not None)

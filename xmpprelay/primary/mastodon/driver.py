"""The driver for servers with Mastodon's API: what is asked of them for each thing to be done.

What is different between servers is in `profiles.py`; what answers mean, in `meaning.py`; how an
unclear sending is looked for, in `reconciling.py`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any, Final
from urllib.parse import quote

from xmpprelay.core.primary import (
    EVERYBODY,
    Account,
    Attempt,
    File,
    Look,
    Outcome,
    Probe,
    Reach,
    Result,
    Scope,
    Status,
    Visibility,
)
from xmpprelay.primary.answers import Answer
from xmpprelay.primary.http import Http
from xmpprelay.primary.mastodon.meaning import done, no_json
from xmpprelay.primary.mastodon.own_list import status_path
from xmpprelay.primary.mastodon.profiles import Profile
from xmpprelay.primary.mastodon.reconciling import look
from xmpprelay.primary.mastodon.servers import VERIFY, Servers, is_about_token

STATUSES: Final = "/api/v1/statuses"

MEDIA_WAIT_S: Final = 5.0
"""How long a server is given to work on an attachment before it is tried again; a guess."""


class Mastodon:
    """A `Primary` on servers with Mastodon's API (`primary/base.py`).

    `sites` are the base URLs of the operator's list, which `http` must know; the first is the one
    of accounts that name none, and of probes without an account. `read_back` asks for each new
    status once more, since a server may drop what it takes for spam and say nothing.
    """

    def __init__(self, http: Http, sites: Sequence[str], *, read_back: bool = False) -> None:
        self._servers = Servers(http, sites)
        self._read_back = read_back

    async def probe(self, account: Account | None = None) -> Probe:
        """What the server is; with an account, whether its credentials hold.

        For an account, a server that is known is not asked again what it is.
        """
        account = account or Account(EVERYBODY)
        known = self._servers.known(account) if account.token else None
        site = known or await self._servers.learn(account)
        if isinstance(site, Result):
            return _not_up(site)
        if account.token:
            verified = await self._servers.send(account, "GET", VERIFY)
            if isinstance(verified, Result):
                return replace(_not_up(verified), caps=site.caps)
            if not isinstance(verified.json(), dict):
                return _not_up(no_json())
        return Probe(Reach.UP, site.caps)

    async def insert(self, account: Account, status: Status, key: str) -> Result:
        """`POST /api/v1/statuses`.

        What is refused with its language is tried without it, once and with a key of its own: a
        server may replay an error to the same key.
        """
        profile = await self._profile(account, surely=status.backdate)
        if isinstance(profile, Result):
            return profile
        result = await self._insert(account, status, key, profile)
        if _may_be_language(result, status):
            return await self._insert(account, replace(status, language=None), f"{key}-", profile)
        return result

    async def edit(self, account: Account, remote_id: str, status: Status, key: str) -> Result:
        """`PUT /api/v1/statuses/{id}`; refused where it would show the status to more people."""
        hidden = status.visibility is not Visibility.PUBLIC
        profile = await self._profile(account, surely=hidden)
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
        path = status_path(remote_id)
        answer = await self._servers.ask(account, "PUT", path, body=body, key=key)
        if isinstance(answer, Result) and _may_be_language(answer, status):
            del body["language"]
            answer = await self._servers.ask(account, "PUT", path, body=body, key=f"{key}-")
        return answer if isinstance(answer, Result) else done(answer)

    async def delete(self, account: Account, remote_id: str) -> Result:
        """`DELETE /api/v1/statuses/{id}`; that it is not there is what was wanted.

        A server gives what it has deleted. Whatever else it says proves nothing, and it is done
        once more (some older ones give an empty object; then it is not there any more).
        """
        answer = await self._servers.ask(account, "DELETE", status_path(remote_id))
        if isinstance(answer, Result):
            if answer.reason in ("http_404", "http_410") and answer.outcome is Outcome.REJECTED:
                return Result(Outcome.INSERTED, remote_id)
            return answer
        result = done(answer)
        return Result(Outcome.INSERTED, remote_id) if result.outcome is Outcome.INSERTED else result

    async def upload(self, account: Account, file: File) -> Result:
        """`POST /api/v2/media`.

        The server may still work on it (202). An insertion that comes too early is RETRY.
        """
        answer = await self._servers.ask(account, "POST", "/api/v2/media", file=file)
        if isinstance(answer, Result):
            return answer
        return replace(done(answer), remote_time=None)

    async def reconcile(self, account: Account, attempt: Attempt) -> Look:
        """Look through the account's own list."""
        return await look(self._servers, account, attempt)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._servers.aclose()

    async def _profile(self, account: Account, *, surely: bool) -> Profile | Result:
        """What is known of the account's server; `surely`: it is asked if nothing is."""
        if surely and self._servers.known(account) is None:
            site = await self._servers.learn(account)
            return site if isinstance(site, Result) else site.profile
        return self._servers.profile(account)

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
        answer = await self._servers.ask(account, "POST", STATUSES, body=body, key=key)
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
        readable = status.visibility in profile.shows
        if self._read_back and readable and result.remote_id is not None:
            return await self._there(account, result, result.remote_id)
        return result

    async def _there(self, account: Account, result: Result, remote_id: str) -> Result:
        answer = await self._servers.send(account, "GET", status_path(remote_id))
        if isinstance(answer, Result) and answer.reason == "http_404":
            return Result(
                Outcome.REJECTED,
                reason="accepted_but_dropped",
                detail="It has answered with yes and dropped the post, as it does with spam: write "
                "it anew with fewer links and mentions, or ask the moderators there.",
            )
        return result

    async def _works_on(self, account: Account, media: Sequence[str]) -> bool:
        """Whether the server is not through with an attachment (206)."""
        for each in media:
            answer = await self._servers.send(
                account, "GET", f"/api/v1/media/{quote(each, safe='')}"
            )
            if isinstance(answer, Answer) and answer.status == 206:
                return True
        return False


def _may_be_language(result: Result, status: Status) -> bool:
    refused = result.outcome is Outcome.REJECTED and result.reason == "http_400"
    return refused and bool(status.language)


def _not_up(result: Result) -> Probe:
    return Probe(
        Reach.AUTH if is_about_token(result) else Reach.DOWN,
        retry_after_s=result.retry_after_s,
        reason=result.reason,
        detail=result.detail,
    )

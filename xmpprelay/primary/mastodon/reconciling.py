"""Whether a status whose sending was unclear is there.

`own_list.py` reads the account's list, `matching.py` compares. Equal texts are all given, oldest
first: whoever asks knows which of them are other posts.
"""

from collections.abc import Mapping
from typing import Any, Final

from xmpprelay.core.primary import (
    Absent,
    Account,
    Attempt,
    CannotTell,
    Found,
    Look,
    LookFailed,
    Outcome,
    Result,
    Status,
)
from xmpprelay.primary.answers import Answer
from xmpprelay.primary.mastodon.login import APPLICATION
from xmpprelay.primary.mastodon.matching import Likeness, application_of, likeness, same_source
from xmpprelay.primary.mastodon.meaning import candidate_of, id_of, no_json
from xmpprelay.primary.mastodon.own_list import OwnList, status_path
from xmpprelay.primary.mastodon.profiles import Profile
from xmpprelay.primary.mastodon.servers import VERIFY, Servers

OWN_APPLICATION: Final = "/api/v1/apps/verify_credentials"

_Found = dict[str, Any]


async def look(servers: Servers, account: Account, attempt: Attempt) -> Look:
    """What `Primary.reconcile` gives. Only a list that was read to its end makes it Absent."""
    site = servers.known(account) or await servers.learn(account)
    if isinstance(site, Result):
        return LookFailed(site)
    profile, status = site.profile, attempt.status
    if status.visibility not in profile.shows:
        return CannotTell(f"This service does not list {status.visibility} posts.")
    remote_id = account.remote_id or await _own_id(servers, account)
    if isinstance(remote_id, Result):
        return LookFailed(remote_id)

    async def ask(path: str, query: Mapping[str, str]) -> Answer | Result:
        return await servers.ask(account, "GET", path, query=query)

    backdated = status.backdate and profile.backdate
    first_at = status.published if backdated else attempt.first_sent_at
    own = OwnList(ask, remote_id, first_at, by_ours=not backdated)
    listed = await own.read(None if backdated else attempt.high_water)
    if isinstance(listed, Result):
        return LookFailed(listed)
    same: list[_Found] = []
    unsure = False
    for each in listed:
        like = likeness(each, status, own.since, profile)
        if like is Likeness.NEAR:
            decided = await _by_source(servers, account, each, status, profile)
            if isinstance(decided, Result):
                return LookFailed(decided)
            like = decided
        if like is Likeness.SAME:
            same.append(each)
        unsure = unsure or like is Likeness.NEAR
    ours = await _made_by_us(servers, account, same)
    if isinstance(ours, Result):
        return LookFailed(ours)
    if ours:
        candidates = (candidate_of(each) for each in ours)
        return Found(tuple(each for each in candidates if each is not None))
    if unsure:
        return CannotTell("Something like it is there, with an altered text.")
    return Absent()


async def _own_id(servers: Servers, account: Account) -> str | Result:
    answer = await servers.ask(account, "GET", VERIFY)
    if isinstance(answer, Result):
        return answer
    found = answer.json()
    return (id_of(found) if isinstance(found, dict) else None) or no_json()


async def _by_source(
    servers: Servers, account: Account, found: _Found, status: Status, profile: Profile
) -> Likeness | Result:
    """SAME or OTHER by the text as it was typed; NEAR: the server does not give that."""
    answer = await servers.ask(account, "GET", status_path(id_of(found) or "", "/source"))
    if isinstance(answer, Result):
        return Likeness.NEAR if answer.outcome is Outcome.REJECTED else answer
    source = answer.json()
    text = source.get("text") if isinstance(source, dict) else None
    if not isinstance(text, str):
        return Likeness.NEAR
    return Likeness.SAME if same_source(text, status, profile) else Likeness.OTHER


async def _made_by_us(
    servers: Servers, account: Account, found: list[_Found]
) -> list[_Found] | Result:
    """Those that were not made with another application of the person's.

    Ours has another name where the operator made the token by hand; then the server is asked for
    it.
    """
    if all(application_of(each) in (None, APPLICATION) for each in found):
        return found
    answer = await servers.ask(account, "GET", OWN_APPLICATION)
    if isinstance(answer, Result):
        return found if answer.outcome is Outcome.REJECTED else answer
    name = application_of({"application": answer.json()})
    return [each for each in found if name is None or application_of(each) in (None, name)]

"""What is asked of a server for each thing to be done, kind by kind; and what is asked in doubt."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from json import dumps
from typing import Any

import pytest

from xmpprelay.core.primary import (
    Absent,
    Account,
    Attempt,
    CannotTell,
    File,
    Found,
    LookFailed,
    Outcome,
    Reach,
    Scope,
    Status,
    Visibility,
)
from xmpprelay.primary.answers import Answer, Failure
from xmpprelay.primary.mastodon.driver import Mastodon

NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC)
SITE = "https://social.example"
ALICE = Account(1, SITE, "t0ken", "alice@social.example", "3")
STATUSES, OWN_LIST = "/api/v1/statuses", "/api/v1/accounts/3/statuses"
VERIFY, APPLICATION = "/api/v1/accounts/verify_credentials", "/api/v1/apps/verify_credentials"
MADE = {"id": "9", "mentions": []}


class Service:
    """What an `Http` is to a driver: answers that a test has set, and what was asked."""

    def __init__(self, software: str) -> None:
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.tokens: dict[str, str] = {}
        self._answers: defaultdict[tuple[str, str], list[Answer | Failure]] = defaultdict(list)
        self.answers("GET", "/.well-known/nodeinfo", 200, {})
        self.answers("GET", "/nodeinfo/2.0", 200, {"software": {"name": software}})
        self.answers("GET", "/api/v2/instance", 200, {"version": "4.2.0"})
        self.answers("GET", VERIFY, 200, {"id": "3"})

    def answers(self, method: str, path: str, status: int, body: object) -> None:
        """One more answer; the last one is given to all that follow."""
        self._answers[method, path].append(Answer(status, {}, dumps(body).encode(), NOW))

    async def request(
        self, method: str, base: str, path: str, *, token: str = "", **how: Any
    ) -> Answer | Failure:
        assert base == SITE
        self.asked.append((method, path))
        self.tokens[path] = token
        if method in ("POST", "PUT"):
            self.bodies.append(dict(how["json"] or {}))
            self.keys.append((how["headers"] or {}).get("Idempotency-Key", ""))
        answers = self._answers[method, path]
        if not answers:
            return Answer(404, {}, b"{}", NOW)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def aclose(self) -> None:
        self.asked.append(("close", ""))


class Bench:
    def __init__(self, software: str = "mastodon") -> None:
        self.service = Service(software)
        self.primary = Mastodon(self.service, [SITE])  # type: ignore[arg-type]


def status(**fields: Any) -> Status:
    made = Status(
        id="k3f.ab12cd",
        atom_id="tag:relay.example,2026:k3f.ab12cd",
        author="alice@example.org",
        handle="alice",
        text="tea",
        published=NOW,
    )
    return replace(made, **fields)


# --- inserting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("software", "own"),
    [
        ("mastodon", {"allowed_mentions": []}),
        ("pleroma", {"content_type": "text/plain"}),
        ("gotosocial", {"content_type": "text/plain"}),
        ("takahe", {}),
        ("glitter", {}),
    ],
)
async def test_a_post_is_sent_in_the_way_of_each_server(software: str, own: object) -> None:
    bench = Bench(software)
    bench.service.answers("POST", STATUSES, 200, MADE)
    await bench.primary.probe()
    await bench.primary.insert(ALICE, status(), "key")
    assert bench.service.bodies == [{"status": "tea", "visibility": "public"} | dict(own)]  # type: ignore[call-overload]
    assert bench.service.keys == ["key"]


async def test_all_that_a_post_has_is_sent() -> None:
    bench = Bench("gotosocial")
    bench.service.answers("POST", STATUSES, 200, MADE)
    plus_one = NOW.astimezone().replace(microsecond=7000)
    full = status(
        language="en",
        visibility=Visibility.PRIVATE,
        in_reply_to="7",
        media=("8",),
        backdate=True,
        published=plus_one,
    )
    await bench.primary.insert(ALICE, full, "key")
    assert bench.service.bodies == [
        {
            "status": "tea",
            "visibility": "private",
            "language": "en",
            "in_reply_to_id": "7",
            "media_ids": ["8"],
            "scheduled_at": "2026-11-22T20:00:00.007+00:00",
            "content_type": "text/plain",
        }
    ]


async def test_the_original_time_is_said_only_where_it_is_not_a_date_in_the_future() -> None:
    bench = Bench("mastodon")
    bench.service.answers("POST", STATUSES, 200, MADE)
    await bench.primary.insert(ALICE, status(backdate=True), "key")
    assert "scheduled_at" not in bench.service.bodies[0]


async def test_whom_it_may_mention_is_left_to_a_post_that_mentions() -> None:
    bench = Bench("mastodon")
    bench.service.answers("POST", STATUSES, 200, MADE)
    await bench.primary.probe()
    await bench.primary.insert(ALICE, status(mentions=("bob@social.example",)), "key")
    assert "allowed_mentions" not in bench.service.bodies[0]


@pytest.mark.parametrize(("software", "reads"), [("takahe", False), ("mastodon", True)])
async def test_what_a_server_does_not_show_is_not_read_back(software: str, reads: bool) -> None:
    """It would be taken for dropped."""
    service = Service(software)
    service.answers("POST", STATUSES, 200, MADE)
    driver = Mastodon(service, [SITE], read_back=True)  # type: ignore[arg-type]
    await driver.probe()
    result = await driver.insert(ALICE, status(visibility=Visibility.PRIVATE), "key")
    assert (("GET", f"{STATUSES}/9") in service.asked) is reads
    assert (result.outcome is Outcome.INSERTED) is not reads


async def test_a_language_is_left_out_with_another_key() -> None:
    bench = Bench()
    bench.service.answers("POST", STATUSES, 400, {"error": "language?"})
    bench.service.answers("POST", STATUSES, 200, MADE)
    result = await bench.primary.insert(ALICE, status(language="tlh"), "key")
    assert result.outcome is Outcome.INSERTED
    assert [each.get("language") for each in bench.service.bodies] == ["tlh", None]
    assert len(set(bench.service.keys)) == 2


async def test_an_edit_has_all_that_stays() -> None:
    bench = Bench("gotosocial")
    path = f"{STATUSES}/9"
    bench.service.answers("PUT", path, 400, {"error": "language?"})
    bench.service.answers("PUT", path, 200, MADE)
    edited = status(text="coffee", media=("8",), language="tlh")
    assert (await bench.primary.edit(ALICE, "9", edited, "key")).outcome is Outcome.INSERTED
    first, second = bench.service.bodies
    assert first == {"status": "coffee", "media_ids": ["8"], "language": "tlh"}
    assert second == {"status": "coffee", "media_ids": ["8"]}


async def test_before_a_hidden_post_is_edited_the_server_is_asked_what_it_is() -> None:
    for visibility, requests in ((Visibility.PUBLIC, 1), (Visibility.UNLISTED, 3)):
        bench = Bench("takahe")
        bench.service.answers("PUT", f"{STATUSES}/9", 200, MADE)
        result = await bench.primary.edit(ALICE, "9", status(visibility=visibility), "key")
        assert (result.reason == "edit_unsafe") == (visibility is Visibility.UNLISTED)
        assert len(bench.service.asked) == requests


# --- attachments ---------------------------------------------------------------------------------


async def test_an_attachment_that_is_worked_on_is_waited_for() -> None:
    bench = Bench()
    bench.service.answers("POST", "/api/v2/media", 202, {"id": "8", "url": None})
    uploaded = await bench.primary.upload(ALICE, File("a.png", "image/png", b"PNG"))
    assert (uploaded.outcome, uploaded.remote_id) == (Outcome.INSERTED, "8")
    bench.service.answers("POST", STATUSES, 422, {"error": "Not finished."})
    bench.service.answers("GET", "/api/v1/media/8", 206, {"id": "8"})
    bench.service.answers("GET", "/api/v1/media/8", 200, {"id": "8"})
    results = [await bench.primary.insert(ALICE, status(media=("8",)), "key") for _ in range(2)]
    assert [each.outcome for each in results] == [Outcome.RETRY, Outcome.REJECTED]
    assert (results[0].reason, results[0].scope) == ("media_processing", Scope.ACCOUNT)
    assert results[0].retry_after_s


# --- deleting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "body", "outcome"),
    [
        (200, {}, Outcome.UNKNOWN),
        (200, MADE, Outcome.INSERTED),
        (404, {"error": "Record not found"}, Outcome.INSERTED),
        (410, {}, Outcome.INSERTED),
        (200, "a page", Outcome.UNKNOWN),
        (422, {}, Outcome.REJECTED),
    ],
)
async def test_what_is_not_there_is_deleted(code: int, body: object, outcome: Outcome) -> None:
    bench = Bench()
    bench.service.answers("DELETE", f"{STATUSES}/a%2Fb", code, body)
    result = await bench.primary.delete(ALICE, "a/b")
    assert result.outcome is outcome
    assert (result.remote_id == "a/b") == (outcome is Outcome.INSERTED)


# --- probing -------------------------------------------------------------------------------------


async def test_what_a_server_is_it_is_asked_without_a_token() -> None:
    bench = Bench()
    assert (await bench.primary.probe(ALICE)).reach is Reach.UP
    assert bench.service.tokens == {
        "/.well-known/nodeinfo": "",
        "/nodeinfo/2.0": "",
        "/api/v2/instance": "",
        VERIFY: "t0ken",
    }
    assert (await bench.primary.probe(ALICE)).reach is Reach.UP
    assert bench.service.asked[4:] == [("GET", VERIFY)]


async def test_a_server_of_another_kind_is_down_with_what_to_do() -> None:
    primary = Mastodon(Elsewhere("glitter"), [SITE])  # type: ignore[arg-type]
    probe = await primary.probe()
    assert (probe.reach, probe.reason) == (Reach.DOWN, "no_such_api")
    assert "look at the URL" in probe.detail


class Elsewhere(Service):
    """A server that has nothing of this API."""

    async def request(self, method: str, base: str, path: str, **how: Any) -> Answer | Failure:
        return Answer(404, {}, b"<html>Not found</html>", NOW)


async def test_a_server_that_keeps_its_limits_to_itself_has_those_of_old() -> None:
    bench = Bench("mastodon")
    bench.service._answers["GET", "/api/v2/instance"].clear()
    bench.service.answers("GET", "/api/v1/instance", 401, {"error": "This method requires a user"})
    probe = await bench.primary.probe()
    assert probe.reach is Reach.UP
    assert probe.caps is not None
    assert (probe.caps.software, probe.caps.max_chars) == ("mastodon", 500)


# --- looking -------------------------------------------------------------------------------------


ATTEMPT = Attempt(status(), NOW, NOW, "1")


def listed(**fields: Any) -> dict[str, Any]:
    found = {"id": "9", "content": "<p>tea</p>", "visibility": "public"}
    return found | {"created_at": (NOW + timedelta(seconds=1)).isoformat()} | fields


def listing(*found: dict[str, Any]) -> Bench:
    bench = Bench()
    bench.service.answers("GET", OWN_LIST, 200, list(found))
    bench.service.answers("GET", OWN_LIST, 200, [])
    return bench


async def test_what_was_made_with_another_application_is_another_post() -> None:
    for name, made_with, same in (
        ("xmpprelay", "xmpprelay", True),
        ("xmpprelay", "Tusky", False),
        ("My relay", "My relay", True),
        ("My relay", None, True),
        (None, "Tusky", True),
    ):
        bench = listing(listed(application={"name": made_with}))
        if name is not None:
            bench.service.answers("GET", APPLICATION, 200, {"name": name})
        look = await bench.primary.reconcile(ALICE, ATTEMPT)
        assert isinstance(look, Found) == same, (name, made_with)
        asks = ("GET", APPLICATION) in bench.service.asked
        assert asks == (made_with not in (None, "xmpprelay"))


async def test_a_doubt_about_the_application_is_no_absence() -> None:
    bench = listing(listed(application={"name": "Tusky"}))
    bench.service.answers("GET", APPLICATION, 500, {})
    look = await bench.primary.reconcile(ALICE, ATTEMPT)
    assert isinstance(look, LookFailed)
    assert look.result.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("code", "source", "kind"),
    [
        (200, {"text": "tea"}, Found),
        (200, {"text": "tea!"}, Absent),
        (200, {}, CannotTell),
        (404, {}, CannotTell),
        (502, {}, LookFailed),
    ],
)
async def test_what_resembles_is_decided_by_its_source_or_not_at_all(
    code: int, source: object, kind: type
) -> None:
    bench = listing(listed(content="<p>Tea!</p>"))
    bench.service.answers("GET", f"{STATUSES}/9/source", code, source)
    assert isinstance(await bench.primary.reconcile(ALICE, ATTEMPT), kind)


async def test_what_is_surely_there_is_found_beside_a_doubt() -> None:
    bench = listing(listed(content="<p>Tea!</p>"), listed(id="8"))
    look = await bench.primary.reconcile(ALICE, ATTEMPT)
    assert isinstance(look, Found)
    assert [each.remote_id for each in look.candidates] == ["8"]


async def test_closing_closes_the_connections() -> None:
    bench = Bench()
    await bench.primary.aclose()
    assert bench.service.asked == [("close", "")]

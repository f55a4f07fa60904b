"""Linking: what a login asks an instance, how its answers are read, and what a pasted code is."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from xmpprelay.commands.calls import Rooms
from xmpprelay.commands.grammar import Ask, Command, Line, Text
from xmpprelay.commands.linking import without_code
from xmpprelay.commands.values import Code
from xmpprelay.primary.answers import Answer, Failure
from xmpprelay.primary.mastodon import login
from xmpprelay.primary.mastodon.login import Client, Failed, Who

SITE = "https://social.example"
CODE = "4xYz-q_0123456789abc"


class Answers:
    """Gives the same to every request, and keeps what was asked."""

    def __init__(self, *answers: Answer | Failure) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    async def request(self, method: str, base: str, path: str, **more: Any) -> Answer | Failure:
        self.asked.append({"method": method, "base": base, "path": path} | more)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def answer(content: object, status: int = 200, **headers: str) -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Answer(status, headers, body, datetime(2030, 1, 1, tzinfo=UTC))


# --- A login -------------------------------------------------------------------------------------


def test_the_address_asks_for_the_least_and_binds_the_code_to_the_login() -> None:
    verifier = login.new_verifier()
    assert 43 <= len(verifier) <= 128, "RFC 7636 §4.1"
    assert verifier != login.new_verifier()
    address = login.authorize_url(SITE, Client("id&1", "hunter2"), verifier)
    assert address.startswith(f"{SITE}/oauth/authorize?")
    assert "hunter2" not in address
    assert verifier not in address
    digest = hashlib.sha256(verifier.encode()).digest()
    assert parse_qs(urlsplit(address).query) == {
        "response_type": ["code"],
        "client_id": ["id&1"],
        "redirect_uri": ["urn:ietf:wg:oauth:2.0:oob"],
        "scope": ["read:accounts read:statuses write:statuses write:media"],
        "code_challenge": [base64.urlsafe_b64encode(digest).decode().rstrip("=")],
        "code_challenge_method": ["S256"],
    }


@pytest.mark.parametrize(
    ("given", "failed"),
    [
        (answer({"error": "invalid_grant"}, 400), Failed("http_400", certain=True)),
        (answer({"error": "invalid_client"}, 401), Failed("invalid_client", certain=True)),
        (answer(b"<html>no</html>", 403), Failed("http_403", certain=True)),
        (answer(b"<html>no</html>", 502), Failed("http_502")),
        (answer({"error": "slow down"}, 429), Failed("http_429")),
        (answer({"access_token": "x"}, 302), Failed("http_302")),
        (answer(b"<html>hello</html>"), Failed("bad_answer")),
        (answer(["access_token"]), Failed("bad_answer")),
        (answer({"access_token": 7, "client_id": 7, "id": 7}), Failed("bad_answer")),
        (
            answer({"access_token": "", "client_id": "", "id": "", "acct": "a"}),
            Failed("bad_answer"),
        ),
        (Failure(True, "timeout", "late"), Failed("timeout")),
    ],
)
async def test_what_is_no_answer_is_told_from_a_no(given: Any, failed: Failed) -> None:
    http: Any = Answers(given)
    client = Client("id", "secret")
    assert await login.exchange(http, SITE, client, CODE, "verifier") == failed
    assert await login.register(http, SITE) == failed
    assert await login.whose(http, SITE, "token") == failed
    assert await login.following(http, SITE, "token", "1") == []
    assert await login.revoke(http, SITE, client, "token") is (
        isinstance(given, Answer) and given.status == 200
    )


async def test_nobody_is_followed_by_pages_without_end() -> None:
    page = answer([{"id": "1", "acct": "bob"}, {"id": 2}, "x"], link='<?max_id=9>; rel="next"')
    http: Any = Answers(page)
    found = await login.following(http, SITE, "token", "a/../b")
    assert found == [Who("1", "bob")] * login.PAGES
    assert [each["query"].get("max_id") for each in http.asked] == [None, "9", "9", "9", "9"]
    assert {each["path"] for each in http.asked} == {"/api/v1/accounts/a%2F..%2Fb/following"}
    assert {each["base"] for each in http.asked} == {SITE}


@pytest.mark.parametrize(
    ("link", "mark"),
    [
        ('<https://a.example/x?limit=80&max_id=7>; rel="next"', "7"),
        ("<https://a.example/x?max_id=7>; rel=next", "7"),
        ('<https://a.example/x?min_id=1>; rel="prev", <https://b/x?max_id=7>; rel="next"', "7"),
        ('<https://a.example/x?min_id=1>; rel="prev"', None),
        ('<https://a.example/x>; rel="next"', None),
        ("", None),
        ("<" * 5000, None),
    ],
)
async def test_of_the_address_of_a_next_page_only_its_mark_is_taken(
    link: str, mark: str | None
) -> None:
    http: Any = Answers(answer([], link=link), answer([]))
    await login.following(http, SITE, "token", "1")
    assert [each["query"].get("max_id") for each in http.asked[1:]] == ([mark] if mark else [])


# --- A pasted code -------------------------------------------------------------------------------


def read(line: Line, *, waits: bool = True) -> Line:
    linking = SimpleNamespace(begun=lambda _: object() if waits else None)
    rooms: dict[str, Any] = dict.fromkeys(Rooms.__dataclass_fields__)
    return without_code(Rooms(**rooms | {"linking": linking}), "alice@example.org", line)


@pytest.mark.parametrize("text", [CODE, f"`{CODE}`", f'"{CODE}".', f"https://a.org/x?code={CODE}"])
def test_a_code_alone_is_the_command(text: str) -> None:
    assert read(Text(text)) == Command("link", {"to": Code(CODE)})
    assert read(Text(text, relay_only=True)) == Command("link", {"to": Code(CODE)})


@pytest.mark.parametrize(
    "text",
    [
        f"link\n{CODE}",
        f"link {CODE} thanks",
        f"here it is: {CODE}",
        "it is ABCDEFGHIJKLMNOPabcdefgh",
        f"see https://a.org/x?code={CODE}&state=1",
    ],
)
def test_a_text_with_a_code_in_it_is_asked_about(text: str) -> None:
    found = read(Text(text))
    assert isinstance(found, Ask)
    assert CODE not in found.sentence


@pytest.mark.parametrize(
    "text",
    ["", "hello", "hello there", "an antidisestablishmentarianism", "WHAAAAAAAAAAAAAAAAAT now"],
)
def test_other_texts_stay_what_they_are(text: str) -> None:
    assert read(Text(text)) == Text(text)


@pytest.mark.parametrize("text", [CODE, f"here: {CODE}"])
def test_without_a_login_or_where_it_is_forced_a_text_is_a_text(text: str) -> None:
    assert read(Text(text), waits=False) == Text(text)
    assert read(Text(text, forced=True)) == Text(text, forced=True)
    none: dict[str, Any] = dict.fromkeys(Rooms.__dataclass_fields__)
    assert without_code(Rooms(**none), "alice@example.org", Text(text)) == Text(text)


def test_commands_are_left_alone() -> None:
    command = Command("d", {}, CODE)
    assert read(command) is command

"""Linking an account by chat, at a real instance: what is told, kept, offered, and never shown."""

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from tests.primaries.oauth import Instance
from xmpprelay import linking, log
from xmpprelay.commands.calls import Rooms
from xmpprelay.commands.grammar import Ask, Command, Text
from xmpprelay.commands.run import Commands
from xmpprelay.config import host_of
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Draft, Follow, Mode, Person
from xmpprelay.errors import (
    NotRegistered,
    Refused,
    TooFast,
    TryLater,
    UnknownHandle,
)
from xmpprelay.linking import Broken, Linking
from xmpprelay.people import Wire
from xmpprelay.primary.http import Http
from xmpprelay.secretbox import SecretBox
from xmpprelay.store.database import Database
from xmpprelay.store.links import load_clients, load_links
from xmpprelay.store.operations import add_person

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HERE = "127.0.0.1"


class Place:
    """People with handles, who type commands; and the linked accounts of their relay."""

    def __init__(self, folder: Path, sites: Sequence[str]) -> None:
        self.folder = folder
        self.sites = sites
        self.time = 0.0
        self.graph = Graph(["example.org"])
        self.told: list[tuple[str, str]] = []  # (to, text), not asked for
        self.buttons: list[str] = []
        self.changed: list[int] = []

    async def opens(self) -> None:
        """The relay starts, with what it has stored."""
        url = f"sqlite:///{self.folder}/relay.db"
        self.db = await Database.open(url, now=lambda: NOW)
        self.http = Http(self.sites)
        self.linking = Linking(
            self.db,
            self.graph,
            cast(Wire, self),
            SecretBox.open(self.folder / "key"),
            self.http,
            sites=self.sites,
            monotonic=lambda: self.time,
        )
        self.linking.changed.append(self.changed.append)
        await self.db.read(lambda conn: self.linking.load(load_links(conn), load_clients(conn)))
        await self.linking.seal_anew()
        others: dict[str, Any] = dict.fromkeys(Rooms.__dataclass_fields__)
        people = SimpleNamespace(renamed=lambda _: None)
        own = {"graph": self.graph, "people": people, "linking": self.linking}
        self.commands = Commands(Rooms(**others | own))

    async def closes(self) -> None:
        await self.linking.close()
        await self.http.aclose()
        await self.db.close()

    async def restarts(self) -> None:
        await self.closes()
        await self.opens()

    async def person(self, name: str, *, handle: bool = True) -> str:
        person = await self.db.write(add_person, f"{name}@example.org")
        self.graph.add_person(Person(person.id, person.jid, name if handle else None))
        return person.jid

    def id(self, jid: str) -> int:
        person = self.graph.by_jid(jid)
        assert person is not None
        return person.id

    async def types(self, jid: str, text: str) -> str:
        """The answer to a line that is a command."""
        line = self.commands.read(text, jid)
        assert isinstance(line, Command)
        return await self.commands.run(Draft(jid, text, None, None, None), line)

    async def links(self, jid: str, instance: Instance, name: str) -> str:
        """Somebody does all that is needed to link an account; the last answer."""
        answer = await self.types(jid, "link")
        return await self.types(jid, f"link {instance.lets_in(name, address_in(answer))}")

    def mention(self, jid: str, text: str, buttons: Sequence[tuple[str, str]] = ()) -> None:
        self.told.append((jid, text))
        self.buttons += [line for line, _ in buttons]


def address_in(answer: str) -> str:
    [address] = [word for word in answer.split() if word.startswith("http")]
    return address


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """What the relay logs, as it would without a terminal."""
    root = logging.getLogger()
    before = root.handlers, root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    out = StringIO()
    log.configure("debug", "json", out)
    yield out
    logging.captureWarnings(False)
    root.handlers, root.level = before
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    structlog.reset_defaults()


@pytest.fixture
async def instance() -> AsyncIterator[Instance]:
    async with Instance() as instance:
        yield instance


@pytest.fixture
async def place(tmp_path: Path, instance: Instance) -> AsyncIterator[Place]:
    place = Place(tmp_path, [instance.site])
    await place.opens()
    yield place
    await place.closes()


# --- How one links -------------------------------------------------------------------------------


async def test_an_account_is_linked_by_an_address_and_a_code(
    place: Place, instance: Instance
) -> None:
    alice = await place.person("alice")
    begun = await place.types(alice, "link")
    assert begun.startswith(f"Open this address within 15 minutes, log in at {HERE}")
    assert await place.types(alice, "link") == begun, "it waits for its code"
    code = instance.lets_in("alice", address_in(begun))
    answer = await place.types(alice, f"link {code}")
    assert answer == f"You are linked as @alice@{HERE}. What you post goes there as well."
    account = place.linking.account(place.id(alice))
    assert account is not None
    assert instance.tokens[account.token] == "alice"
    assert (account.id, account.site) == (place.id(alice), instance.site)
    assert (account.name, account.remote_id) == (f"alice@{HERE}", "id-alice")
    assert account.token not in repr(account)
    assert place.changed == [place.id(alice)]
    assert await place.types(alice, "link") == (
        f"You are linked as @alice@{HERE}. What you post goes there as well. `unlink` ends it."
    )


async def test_what_is_linked_stays_so_over_a_restart(place: Place, instance: Instance) -> None:
    alice, bob = await place.person("alice"), await place.person("bob")
    await place.links(alice, instance, "alice")
    before = place.linking.account(place.id(alice))
    await place.restarts()
    assert place.linking.account(place.id(alice)) == before
    await place.links(bob, instance, "bob")
    assert instance.asked.count("/api/v1/apps") == 1, "the relay is registered once"


async def test_a_code_alone_ends_the_login_and_is_never_posted(
    place: Place, instance: Instance
) -> None:
    alice, bob = await place.person("alice"), await place.person("bob")
    code = instance.lets_in("alice", address_in(await place.types(alice, "link")))
    shown_at = f"{instance.site}/oauth/authorize/native?code={code}"
    for text in (code, f" `{code}`".strip(), f"~{code}", shown_at, f"link {code}"):
        line = place.commands.read(text, alice)
        assert isinstance(line, Command), "it is the code"
        assert code not in repr(line)
    for text in (f"the code is {code}", f"link\n{code}", f"link {code} please", f"see {shown_at}"):
        line = place.commands.read(text, alice)
        assert isinstance(line, Ask), "it is asked about"
        assert code not in line.sentence
    for text in ("hello there", "an antidisestablishmentarianism", f"\\{code}"):
        assert isinstance(place.commands.read(text, alice), Text)
    assert isinstance(place.commands.read(code, bob), Text), "he has begun nothing"
    assert "You are linked as" in await place.types(alice, code)
    assert isinstance(place.commands.read(code, alice), Text), "it is worth nothing any more"


async def test_one_chooses_between_instances_by_name(tmp_path: Path) -> None:
    async with Instance() as one, Instance() as other:
        sites = [one.site, other.site.replace(HERE, "localhost")]
        other.site = sites[1]
        place = Place(tmp_path, sites)
        await place.opens()
        alice = await place.person("alice")
        assert await place.types(alice, "link") == (
            f"You have no linked account. Choose where yours is: `link {HERE}`, `link localhost`."
        )
        with pytest.raises(UnknownHandle, match=r"at other\.example cannot be linked here; choose"):
            await place.types(alice, "link other.example")
        for instance in (one, other):
            begun = await place.linking.begin(alice, host_of(instance.site))
            link = await place.linking.finish(alice, instance.lets_in("alice", begun.address))
            assert link.site == instance.site
        await place.linking.settled()
        assert (list(one.tokens.values()), list(other.tokens.values())) == ([], ["alice"])
        assert await place.types(alice, "link") == (
            "You are linked as @alice@localhost. What you post goes there as well. "
            f"`link {HERE}` links an account there instead. `unlink` ends it."
        )
        place.sites = [one.site]
        await place.restarts()
        assert place.linking.account(place.id(alice)) is None
        assert "has taken localhost out, so your posts wait" in await place.types(alice, "link")
        await place.closes()


async def test_where_nothing_can_be_linked_that_is_said(place: Place) -> None:
    alice = await place.person("alice")
    others: dict[str, Any] = dict.fromkeys(Rooms.__dataclass_fields__)
    people = SimpleNamespace(renamed=lambda _: None)
    place.commands = Commands(Rooms(**others | {"graph": place.graph, "people": people}))
    for line in ("link", "link social.example", "link 4xYz-q_0123456789abc", "unlink"):
        with pytest.raises(Refused, match="Accounts cannot be linked on this relay"):
            await place.types(alice, line)


# --- What does not work --------------------------------------------------------------------------


async def test_wrong_codes_are_counted_and_the_fifth_is_the_last(
    place: Place, instance: Instance
) -> None:
    alice, bob = await place.person("alice"), await place.person("bob")
    begun = await place.types(alice, "link")
    code = instance.lets_in("alice", address_in(begun))
    for _ in range(linking.WRONG_CODES - 1):
        with pytest.raises(Refused, match="does not know that code, so nothing was linked"):
            await place.types(alice, "link wrong-wrong-wrong-wrong")
    with pytest.raises(TooFast, match="These were 5 wrong codes: try again in 15 minutes"):
        await place.types(alice, "link wrong-wrong-wrong-wrong")
    asked = len(instance.asked)
    for line in (f"link {code}", "link 127.0.0.1.example"):
        with pytest.raises((TooFast, UnknownHandle)):
            await place.types(alice, line)
    with pytest.raises(TooFast):
        await place.linking.begin(alice, HERE)
    assert len(instance.asked) == asked
    assert "linked as" in await place.links(bob, instance, "bob"), "others are not concerned"
    place.time += linking.BEGUN_FOR_S
    assert "linked as" in await place.links(alice, instance, "alice")


async def test_a_new_address_does_not_forgive_wrong_codes(place: Place) -> None:
    alice = await place.person("alice")
    for _ in range(linking.WRONG_CODES):
        await place.linking.begin(alice, HERE)
        with pytest.raises((Refused, TooFast)):
            await place.linking.finish(alice, "wrong")
    with pytest.raises(TooFast):
        await place.linking.begin(alice, HERE)


async def test_a_code_is_good_for_who_has_begun_and_for_fifteen_minutes(
    place: Place, instance: Instance
) -> None:
    alice, bob = await place.person("alice"), await place.person("bob")
    code = instance.lets_in("alice", address_in(await place.types(alice, "link")))
    await place.types(bob, "link")
    with pytest.raises(Refused, match="does not know that code"):
        await place.types(bob, f"link {code}")
    assert place.linking.account(place.id(bob)) is None
    late = instance.lets_in("alice", address_in(await place.types(alice, "link")))
    place.time += linking.BEGUN_FOR_S
    with pytest.raises(Refused, match="No login waits for a code"):
        await place.types(alice, f"link {late}")


async def test_as_many_logins_wait_as_there_is_room_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linking, "BEGUN", 1)
    alice, bob = await place.person("alice"), await place.person("bob")
    await place.types(alice, "link")
    with pytest.raises(TryLater, match="Too many people"):
        await place.types(bob, "link")
    await place.linking.begin(alice, HERE)
    place.time += linking.BEGUN_FOR_S
    await place.types(bob, "link")


async def test_who_has_no_handle_is_told_to_join(place: Place) -> None:
    bob = await place.person("bob", handle=False)
    for line in ("link", "link wrong-wrong-wrong-wrong", "unlink", "link private"):
        with pytest.raises(NotRegistered, match="`join yourname` first"):
            await place.types(bob, line)


async def test_an_account_that_is_somebody_elses_is_not_linked(
    place: Place, instance: Instance
) -> None:
    alice, bob = await place.person("alice"), await place.person("bob")
    await place.links(alice, instance, "alice")
    with pytest.raises(Refused, match=f"alice@{HERE} is linked to somebody else here"):
        await place.links(bob, instance, "alice")
    await place.linking.settled()
    assert len(instance.revoked) == 1, "what is not used is not kept"
    account = place.linking.account(place.id(alice))
    assert account is not None
    assert account.token in instance.tokens


@pytest.mark.parametrize(
    "path", ["/api/v1/apps", "/oauth/token", "/api/v1/accounts/verify_credentials"]
)
@pytest.mark.parametrize("status", [502, 429])
async def test_an_instance_that_fails_is_tried_later(
    place: Place, instance: Instance, path: str, status: int
) -> None:
    alice = await place.person("alice")
    instance.fails[path] = status
    with pytest.raises(TryLater):
        await place.links(alice, instance, "alice")
    instance.fails.clear()
    await place.linking.settled()
    assert not instance.tokens, "a token of which nobody knows whose it is was revoked"
    assert "linked as" in await place.links(alice, instance, "alice")


async def test_an_instance_that_has_forgotten_the_relay_gets_to_know_it_again(
    place: Place, instance: Instance
) -> None:
    alice = await place.person("alice")
    code = instance.lets_in("alice", address_in(await place.types(alice, "link")))
    instance.apps.clear()
    with pytest.raises(TryLater, match=r"`link 127\.0\.0\.1` begins anew"):
        await place.types(alice, f"link {code}")
    assert "linked as" in await place.links(alice, instance, "alice")


# --- Ends and changes ----------------------------------------------------------------------------


async def test_unlinking_revokes_the_token_and_says_whether_it_could(
    place: Place, instance: Instance
) -> None:
    alice = await place.person("alice")
    await place.links(alice, instance, "alice")
    assert await place.types(alice, "unlink") == (
        f"Your posts do not go to @alice@{HERE} any more. The relay cannot write there now."
    )
    assert not instance.tokens
    assert place.linking.account(place.id(alice)) is None
    with pytest.raises(Refused, match="You have no linked account"):
        await place.types(alice, "unlink")
    await place.links(alice, instance, "alice")
    instance.fails["/oauth/revoke"] = 502
    answer = await place.types(alice, "unlink")
    assert f"{HERE} could not be told to end the login: do that there" in answer
    assert await place.db.read(lambda conn: list(load_links(conn))) == []


async def test_linking_again_ends_the_login_before(place: Place, instance: Instance) -> None:
    alice = await place.person("alice")
    await place.links(alice, instance, "alice")
    begun = await place.linking.begin(alice, HERE)
    await place.linking.finish(alice, instance.lets_in("alice", begun.address))
    await place.linking.settled()
    account = place.linking.account(place.id(alice))
    assert account is not None
    assert list(instance.tokens) == [account.token]


async def test_who_leaves_the_relay_leaves_no_login(place: Place, instance: Instance) -> None:
    alice = await place.person("alice")
    await place.links(alice, instance, "alice")
    place.linking.forget(place.id(alice))
    await place.linking.settled()
    assert not instance.tokens
    assert place.linking.account(place.id(alice)) is None


async def test_protected_posts_go_there_only_if_their_author_says_so(
    place: Place, instance: Instance
) -> None:
    alice = await place.person("alice")
    with pytest.raises(Refused, match="You have no linked account"):
        await place.types(alice, "link private")
    place.graph.protect(place.id(alice), on=True)
    assert (await place.links(alice, instance, "alice")).endswith(
        "Your posts are protected, so they do not go there, unless you say `link private`."
    )
    assert "for your followers there alone" in await place.types(alice, "link private")
    await place.restarts()
    link = place.linking.linked(place.id(alice))
    assert link is not None
    assert link.private
    assert "for your followers there alone" in await place.types(alice, "link")
    assert "they do not go to" in await place.types(alice, "link public")
    assert not (place.linking.linked(place.id(alice)) or link).private


async def test_a_login_that_does_not_hold_any_more_is_told_once(
    place: Place, instance: Instance
) -> None:
    alice = await place.person("alice")
    await place.links(alice, instance, "alice")
    old = place.linking.account(place.id(alice))
    assert old is not None
    for _ in range(2):
        await place.linking.refused(old)
    [(to, text)] = place.told
    assert to == alice
    assert text.startswith(f"{HERE} does not accept your login any more, so your posts wait")
    await place.restarts()
    assert place.linking.account(place.id(alice)) is None
    assert f"`link {HERE}` renews it" in await place.types(alice, "link")
    begun = await place.linking.begin(alice, HERE)
    await place.linking.finish(alice, instance.lets_in("alice", begun.address))
    new = place.linking.account(place.id(alice))
    assert new is not None
    await place.linking.refused(old)
    assert place.linking.account(place.id(alice)) == new
    assert len(place.told) == 1


# --- Whom one follows there ----------------------------------------------------------------------


async def test_those_whom_one_follows_there_are_offered_and_not_followed(
    place: Place, instance: Instance
) -> None:
    names = ("alice", "bob", "carol", "dave", "erin", "frank")
    alice, bob, carol, dave, erin, frank = [await place.person(name) for name in names]
    for who, name in ((bob, "bob"), (carol, "carol"), (dave, "dave"), (erin, "erin")):
        await place.links(who, instance, name)
    await place.links(frank, instance, "frank")
    place.graph.add_follow(Follow(place.id(alice), place.id(dave), Mode.HOME, 1))
    place.graph.block(place.id(erin), alice)
    instance.account("alice", "nobody", "bob", "dave", "erin", "carol", "alice", "x@far.example")
    await place.links(alice, instance, "alice")
    await place.linking.settled()
    assert place.told == [
        (
            alice,
            f"bob, carol, whom you follow at {HERE}, are here too: `follow bob`, `follow carol`",
        )
    ]
    assert place.buttons == ["follow bob", "follow carol"]
    following = {person.jid for person in place.graph.following(place.id(alice))}
    assert following == {dave}


async def test_not_everybody_is_named(
    place: Place, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linking, "OFFERED", 1)
    alice, bob, carol = [await place.person(name) for name in ("alice", "bob", "carol")]
    for who, name in ((bob, "bob"), (carol, "carol")):
        await place.links(who, instance, name)
    instance.account("alice", "bob", "carol")
    await place.links(alice, instance, "alice")
    await place.linking.settled()
    [(_, text)] = place.told
    assert text == f"bob and 1 more, whom you follow at {HERE}, are here too: `follow bob`"


async def test_where_it_is_not_known_whom_one_follows_nothing_is_said(
    place: Place, instance: Instance
) -> None:
    alice, bob = await place.person("alice"), await place.person("bob")
    await place.links(bob, instance, "bob")
    instance.account("alice", "bob")
    instance.fails["/api/v1/accounts/id-alice/following"] = 502
    assert "linked as" in await place.links(alice, instance, "alice")
    await place.linking.settled()
    assert "/api/v1/accounts/id-alice/following" in instance.asked
    assert place.told == []


# --- Keys ----------------------------------------------------------------------------------------


async def test_no_token_stands_in_the_database_or_in_a_log(
    logged: StringIO, place: Place, instance: Instance
) -> None:
    alice, bob = await place.person("alice"), await place.person("bob")
    codes = []
    for who in (alice, bob):
        begun = await place.linking.begin(who, HERE)
        codes.append(instance.lets_in(who.partition("@")[0], begun.address))
        await place.types(who, f"link {codes[-1]}")
    await place.linking.begin(bob, HERE)
    with pytest.raises(Refused):
        await place.types(bob, f"link {codes[0]}")
    account = place.linking.account(place.id(alice))
    assert account is not None
    tokens = list(instance.tokens)
    instance.fails["/oauth/revoke"] = 502
    await place.types(bob, "unlink")
    await place.linking.refused(account)
    await place.restarts()
    files = [file for file in place.folder.iterdir() if file.name != "key"]
    assert "relay.db" in {file.name for file in files}
    everything = b"".join(file.read_bytes() for file in files) + logged.getvalue().encode()
    assert b"client-1" in everything, "it is looked in the right place"
    assert "link.made" in logged.getvalue()
    secrets = [*codes, *tokens, *instance.apps.values()]
    assert len(secrets) == 5
    assert [each for each in secrets if each.encode() in everything] == []


async def test_a_new_key_in_front_encrypts_everything_anew(
    place: Place, instance: Instance
) -> None:
    alice = await place.person("alice")
    await place.links(alice, instance, "alice")
    before = place.linking.account(place.id(alice))
    file = place.folder / "key"
    old = file.read_text()
    file.write_text(f"{'A' * 42}A=\n{old}")
    await place.restarts()
    assert place.linking.account(place.id(alice)) == before
    file.write_text(f"{'A' * 42}A=\n")
    await place.restarts()
    assert place.linking.account(place.id(alice)) == before
    assert "The relay cannot write there now" in await place.types(alice, "unlink")


async def test_with_a_wrong_key_the_operator_is_told_and_the_others_go_on(
    logged: StringIO, place: Place, instance: Instance
) -> None:
    alice, bob = await place.person("alice"), await place.person("bob")
    await place.links(alice, instance, "alice")
    (place.folder / "key").unlink()
    await place.restarts()
    assert f"None of the keys in {place.folder}/key is the one" in logged.getvalue()
    assert "put that key back as a line of the file" in logged.getvalue()
    assert place.linking.account(place.id(alice)) is None
    assert f"`link {HERE}` renews it" in await place.types(alice, "link")
    assert "linked as" in await place.links(bob, instance, "bob")
    begun = await place.linking.begin(alice, HERE)
    await place.linking.finish(alice, instance.lets_in("alice", begun.address))
    assert place.linking.account(place.id(alice)) is not None


async def test_two_who_link_at_once_are_one_registration(place: Place, instance: Instance) -> None:
    people = [await place.person(name) for name in ("alice", "bob", "carol")]
    await asyncio.gather(*(place.linking.begin(each, HERE) for each in people))
    assert instance.asked.count("/api/v1/apps") == 1


async def test_whose_token_cannot_be_read_is_found_and_told_how_to_mend_it(
    place: Place, instance: Instance
) -> None:
    alice, bob = await place.person("alice"), await place.person("bob")
    await place.links(alice, instance, "alice")
    assert dict(place.linking.broken()) == {place.id(alice): None}
    (place.folder / "key").unlink()
    await place.restarts()
    await place.links(bob, instance, "bob")
    assert dict(place.linking.broken()) == {
        place.id(alice): Broken.UNREADABLE, place.id(bob): None,
    }  # fmt: skip
    place.linking.tell_broken(place.id(alice), Broken.UNREADABLE)
    assert place.told == [
        (
            alice,
            f"This relay cannot read its login at {HERE} any more, so your posts wait before they "
            f"go there: `link {HERE}` makes it anew, `unlink` ends it.",
        )
    ]
    assert place.buttons == [f"link {HERE}"]


async def test_of_a_login_that_was_refused_nothing_more_is_said(
    place: Place, instance: Instance
) -> None:
    alice = await place.person("alice")
    await place.links(alice, instance, "alice")
    account = place.linking.account(place.id(alice))
    assert account is not None
    await place.linking.refused(account)
    (place.folder / "key").unlink()
    await place.restarts()
    assert dict(place.linking.broken()) == {place.id(alice): None}


async def test_whose_instance_was_taken_out_is_found_and_told_what_there_is(
    place: Place, instance: Instance
) -> None:
    alice = await place.person("alice")
    await place.links(alice, instance, "alice")
    place.sites = ["https://one.example", "https://two.example"]
    await place.restarts()
    assert dict(place.linking.broken()) == {place.id(alice): Broken.REMOVED}
    place.linking.tell_broken(place.id(alice), Broken.REMOVED)
    assert place.told == [
        (
            alice,
            f"This relay does not serve {HERE} any more, so your posts wait before they go to an "
            "account of yours: `link one.example`, `link two.example` links one there instead, "
            "`unlink` ends it.",
        )
    ]
    assert place.buttons == ["link one.example", "link two.example"]

"""The driver for servers with Mastodon's API, on the demo primary of the quickstart."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from tests.contract.primary_suite import Break, Seen, UnclearSuite, attempt, ids, insert, status
from tests.primaries.profiles import MASTODON
from tests.primaries.twin import caps_of
from xmpprelay.core.primary import Account, File, LookFailed, Outcome, Reach, Scope, Visibility
from xmpprelay.primary.http import Http
from xmpprelay.primary.mastodon import login
from xmpprelay.primary.mastodon.driver import Mastodon
from xmpprelay.quickstart.demo_primary.app import HOST, app_of
from xmpprelay.quickstart.demo_primary.asked import MEDIA_TYPES
from xmpprelay.quickstart.demo_primary.store import DemoStore
from xmpprelay.quickstart.primaries import DemoPrimary, PrimaryFailed
from xmpprelay.quickstart.private_server import free_port

PICTURE = File("cat.png", "image/png", b"\x89PNG\r\n\x1a\n")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DemoBench:
    """A driver, and a demo primary for it."""

    caps = replace(caps_of(MASTODON), media_types=frozenset(MEDIA_TYPES))

    def __init__(self, file: Path) -> None:
        self.store = DemoStore(file)
        self.port = free_port()
        self.site = f"http://{HOST}:{self.port}"
        self.alice = self.store.join("alice", "her password")
        app, _ = self.store.add_app(login.APPLICATION)
        self.secret = self.store.add_token(self.alice.id, app, login.SCOPES)
        self.account = Account(1, self.site, self.secret, f"alice@{HOST}", str(self.alice.id))
        self.primary = Mastodon(Http([self.site]), [self.site])
        self._way: Break | None = None
        self._runner: web.AppRunner | None = None

    def utc(self) -> datetime:
        return datetime.now(UTC)

    async def stored(self) -> list[Seen]:
        return [
            Seen(each.text, each.visibility, str(each.parent or ""), each.language or "")
            for each in self.store.page(shows=list(Visibility), limit=1000)[::-1]
        ]

    async def break_way(self, how: Break) -> None:
        self._way = how
        if how is Break.REFUSED:
            await self.stop()

    async def mend(self) -> None:
        self._way = None
        await self.listen()

    async def listen(self) -> None:
        if self._runner is None:
            app = app_of(self.store)
            app.middlewares.insert(0, self._broken)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await self._runner.setup()
            await web.TCPSite(self._runner, HOST, self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _broken(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        way = None if request.method == "GET" else self._way
        if way is not None:
            self._way = None
        if way is not Break.LOST:
            answer = await handler(request)
        if way is None:
            return answer
        assert request.transport is not None
        request.transport.close()
        return web.Response()  # goes nowhere


class TestDemo(UnclearSuite):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[DemoBench]:
        bench = DemoBench(tmp_path / "demo.db")
        await bench.listen()
        yield bench
        await bench.primary.aclose()
        await bench.stop()
        bench.store.close()

    async def test_what_it_keeps_is_there_after_a_restart(self, bench: DemoBench) -> None:
        new, made = await insert(bench, "still here?")
        await bench.stop()
        bench.store.close()
        bench.store = DemoStore(bench.store.path)
        await bench.listen()
        again = await bench.primary.insert(bench.account, new, f"key of {new.id}")
        assert (again.outcome, again.remote_id) == (Outcome.INSERTED, made.remote_id)
        assert len(await bench.stored()) == 1

    async def test_ids_grow_with_time(self, bench: DemoBench) -> None:
        made = [(await insert(bench, f"{n}"))[1].remote_id for n in range(20)]
        assert [int(each or 0) for each in made] == sorted(int(each or 0) for each in made)

    async def test_it_looks_on_to_the_last_page(self, bench: DemoBench) -> None:
        _, before = await insert(bench, "before")
        sent = status(bench, "the last")
        asked = attempt(bench, sent, before.remote_id)
        for n in range(85):
            await insert(bench, f"{n}")
        made = await bench.primary.insert(bench.account, sent, "key")
        assert ids(await bench.primary.reconcile(bench.account, asked)) == [made.remote_id]
        downward = replace(asked, high_water=None)
        assert ids(await bench.primary.reconcile(bench.account, downward)) == [made.remote_id]

    async def test_a_text_is_known_again_whatever_is_in_it(self, bench: DemoBench) -> None:
        bench.store.join("bob", "his password")
        for text in (
            "two  spaces,\nline\n\n\nparagraph & <b>1 < 2</b> \"quoted\" 'so' &amp;",
            'https://example.org/a?b=c&d="e"<f> (https://example.org/g) a@b.example @\u2060bob',
            f"@bob@{HOST} and @alice, @nobody and @bob@elsewhere.example",
        ):
            sent = status(bench, text, mentions=(f"bob@{HOST}", f"alice@{HOST}"))
            asked = attempt(bench, sent)
            made = await bench.primary.insert(bench.account, sent, f"key of {sent.id}")
            assert ids(await bench.primary.reconcile(bench.account, asked)) == [made.remote_id]

    async def test_every_visibility_is_kept_and_only_its_author_sees_the_hidden(
        self, bench: DemoBench
    ) -> None:
        for visibility in Visibility:
            sent = status(bench, "who sees it?", visibility=visibility)
            asked = attempt(bench, sent)
            made = await bench.primary.insert(bench.account, sent, f"key of {sent.id}")
            assert ids(await bench.primary.reconcile(bench.account, asked)) == [made.remote_id]
        bob = bench.store.join("bob", "his password")
        token = bench.store.add_token(bob.id, "", login.SCOPES)
        http = Http([bench.site])
        path = f"/api/v1/accounts/{bench.alice.id}/statuses"
        answer = await http.request("GET", bench.site, path, token=token)
        shown = await http.request("GET", bench.site, "/api/v1/timelines/public")
        await http.aclose()
        assert not isinstance(answer, LookFailed)
        assert [each["visibility"] for each in answer.json()] == ["unlisted", "public"]
        assert [each["visibility"] for each in shown.json()] == ["public"]

    async def test_who_is_not_meant_is_not_mentioned(self, bench: DemoBench) -> None:
        bench.store.join("bob", "his password")
        await bench.primary.probe()
        new = status(bench, "and @bob?")
        result = await bench.primary.insert(bench.account, new, "key")
        assert (result.outcome, result.reason) == (Outcome.REJECTED, "http_422")
        assert await bench.stored() == []

    async def test_an_attachment_belongs_to_one_post(self, bench: DemoBench) -> None:
        uploaded = await bench.primary.upload(bench.account, PICTURE)
        assert uploaded.outcome is Outcome.INSERTED
        assert uploaded.remote_id
        new, made = await insert(bench, "look", media=(uploaded.remote_id,))
        again = await bench.primary.insert(bench.account, new, f"key of {new.id}")
        assert again.remote_id == made.remote_id
        other = await bench.primary.insert(bench.account, new, "another key")
        assert (other.outcome, other.reason) == (Outcome.REJECTED, "http_422")

    async def test_a_reply_to_nothing_is_refused(self, bench: DemoBench) -> None:
        _, parent = await insert(bench, "gone soon")
        assert parent.remote_id
        await bench.primary.delete(bench.account, parent.remote_id)
        reply = status(bench, "to nobody", in_reply_to=parent.remote_id)
        result = await bench.primary.insert(bench.account, reply, "key")
        assert (result.outcome, result.reason) == (Outcome.REJECTED, "http_404")

    async def test_a_text_that_is_too_long_is_refused(self, bench: DemoBench) -> None:
        address = "https://example.org/" + "a" * 400
        await insert(bench, f"{address} {'b' * 476}")
        result = await bench.primary.insert(bench.account, status(bench, "b" * 501), "key")
        assert result.outcome is Outcome.REJECTED

    async def test_a_token_that_holds_no_more_is_told(self, bench: DemoBench) -> None:
        held = bench.store.login(bench.secret)
        assert held is not None
        bench.store.revoke(bench.secret, held.app)
        result = await bench.primary.insert(bench.account, status(bench, "hello?"), "key")
        assert (result.outcome, result.scope) == (Outcome.AUTH, Scope.ACCOUNT)
        assert (await bench.primary.probe(bench.account)).reach is Reach.AUTH

    # --- Letting programs in ---------------------------------------------------------------------

    async def test_the_relay_is_let_in_and_put_out_again(self, bench: DemoBench) -> None:
        bench.store.join("bob", "his password", ["alice", "nobody"])
        async with let_in(bench) as (http, client):
            demo = DemoPrimary(bench.store.path.parent, bench.port)
            address = login.authorize_url(bench.site, client, "a verifier")
            code = await demo.lets_in(address, "bob", "his password")
            token = await login.exchange(http, bench.site, client, code, "a verifier")
            assert isinstance(token, str)
            who = await login.whose(http, bench.site, token)
            assert isinstance(who, login.Who)
            assert who.name == "bob"
            followed = await login.following(http, bench.site, token, who.remote_id)
            assert [each.name for each in followed] == ["alice"]
            assert await login.revoke(http, bench.site, client, token)
            assert isinstance(await login.whose(http, bench.site, token), login.Failed)
            await demo.close()

    async def test_a_code_is_good_once_and_for_who_has_asked_for_it(self, bench: DemoBench) -> None:
        async with let_in(bench) as (http, client):
            demo = DemoPrimary(bench.store.path.parent, bench.port)
            address = login.authorize_url(bench.site, client, "a verifier")
            for verifier in ("another verifier", "a verifier"):
                code = await demo.lets_in(address, "alice", "her password")
                first = await login.exchange(http, bench.site, client, code, verifier)
                assert isinstance(first, str) == (verifier == "a verifier")
                second = await login.exchange(http, bench.site, client, code, verifier)
                assert second == login.Failed("http_400", certain=True)
            stranger = login.Client(client.client_id, "another secret")
            code = await demo.lets_in(address, "alice", "her password")
            refused = await login.exchange(http, bench.site, stranger, code, "a verifier")
            assert refused == login.Failed("invalid_client", certain=True)
            await demo.close()

    @pytest.mark.parametrize(("name", "password"), [("alice", "his password"), ("eve", "")])
    async def test_nobody_else_can_let_it_in(
        self, bench: DemoBench, name: str, password: str
    ) -> None:
        async with let_in(bench) as (_, client):
            demo = DemoPrimary(bench.store.path.parent, bench.port)
            address = login.authorize_url(bench.site, client, "a verifier")
            with pytest.raises(PrimaryFailed, match=f"did not let {name} in"):
                await demo.lets_in(address, name, password)
            await demo.close()

    async def test_a_token_does_what_it_was_given_for(self, bench: DemoBench) -> None:
        bench.account = replace(
            bench.account, token=bench.store.add_token(bench.alice.id, "", "read")
        )
        result = await bench.primary.insert(bench.account, status(bench, "hello?"), "key")
        assert (result.outcome, result.reason) == (Outcome.REJECTED, "http_403")
        assert await bench.stored() == []


@asynccontextmanager
async def let_in(bench: DemoBench) -> AsyncIterator[tuple[Http, login.Client]]:
    """The relay's requests, and how the demo knows it."""
    http = Http([bench.site])
    client = await login.register(http, bench.site)
    assert isinstance(client, login.Client)
    yield http, client
    await http.aclose()

"""What monitors are told: health in a word, figures for Prometheus, and a board of them."""

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.web_world import Answer, pages, wired_pages
from tests.integration.world import Clock, World
from tests.servers.towns import TOWNS
from xmpprelay.config import Feeds, Primary
from xmpprelay.core.health import Flag
from xmpprelay.errors import StoreError
from xmpprelay.web.health import Health

RUNS_IN = TOWNS[:1]

ROOT = Path(__file__).parents[2]


# Health


async def test_monitors_learn_whether_the_relay_can_do_its_work(tmp_path: Path) -> None:
    async with wired_pages(tmp_path) as (wire, site):
        for path, word in {"/healthz": "ok\n", "/readyz": "ready\n"}.items():
            answer = await site.get(path)
            assert (answer.status, answer.text) == (200, word)
            assert answer.headers["Cache-Control"] == "no-store"
        wire.abort()
        await wire.lost()
        answer = await site.get("/readyz")
        assert (answer.status, answer.text) == (503, "disconnected\n")
        assert (await site.get("/healthz")).text == "ok\n"


@dataclass
class _Disk:
    full: bool = False
    failure: StoreError | None = None


def test_of_several_troubles_the_worst_is_told() -> None:
    disk, there = _Disk(), [True]
    health = Health(disk, lambda: there[0])
    assert health.trouble() == ""
    there.clear()
    there.append(False)
    assert health.trouble() == "disconnected"
    disk.full = True
    assert health.trouble() == "full"
    disk.failure = StoreError("for this test")
    assert health.trouble() == "failed"


# Figures


def _figures(answer: Answer) -> dict[tuple[str, tuple[str, ...]], float]:
    """Each sample by its name and the values of its labels."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_figures_follow_what_happens(world: World) -> None:
    async with pages(world) as site:
        alice, bob = await world.authors("alice", "bob")
        await bob.says("follow alice")
        before = _figures(await site.get("/metrics"))
        await alice.says("hello")
        await bob.gets_post("hello")
        await world.settled()
        await site.get("/@alice")
        await site.get("/@nobody-of-that-name")
        answer = await site.get("/metrics")
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        after = _figures(answer)

        def rise(name: str, *labels: str) -> float:
            return after[name, labels] - before.get((name, labels), 0.0)

        assert rise("xmpprelay_posts_total", "post") == 1
        assert rise("xmpprelay_deliveries_total", "own") >= 1
        assert rise("xmpprelay_journal_write_seconds_count") >= 2
        assert rise("xmpprelay_web_requests_total", "/@{handle}", "200") == 1
        assert after["xmpprelay_connected", ()] == 1
        assert after["xmpprelay_people_live", ()] >= 1
        assert all(value == 0 for (name, _), value in after.items() if "failures" in name)
        for person in (alice, bob):
            assert person.jid not in answer.text
        assert "alice" not in answer.text
        assert "nobody-of-that-name" not in answer.text


async def test_figures_tell_what_waits_for_a_primary(tmp_path: Path) -> None:
    clock = Clock()
    primary = Primary(driver="sql", url=f"sqlite:///{tmp_path}/primary.db")
    async with wired_pages(tmp_path, clock, primary=primary) as (wire, site):
        await wire.service.inserting.open()
        await wire.service.inserting.standby.flag("", Flag.ON)
        wire.says("alice@example.test/x", "join alice")
        wire.says("alice@example.test/x", "hello")
        await wire.quiet()
        clock.passes(minutes=10)
        figures = _figures(await site.get("/metrics"))
        assert figures["xmpprelay_standby", ("",)] == 1
        waiting = figures["xmpprelay_queue_posts", ("",)]
        assert waiting >= 1
        assert 600 <= figures["xmpprelay_queue_oldest_age_seconds", ("",)] < 660
        await wire.service.inserting.standby.flag("", Flag.AUTO)
        wire.says("alice@example.test/x", "hello again")
        await wire.quiet()
        figures = _figures(await site.get("/metrics"))
        assert figures["xmpprelay_queue_posts", ("",)] == waiting + 1, "not kept for some time"


async def test_what_is_refused_is_counted_by_its_condition(tmp_path: Path) -> None:
    async with wired_pages(tmp_path) as (wire, site):
        wire.says("stranger@example.test/x", "a text of somebody who has no handle here")
        await wire.quiet()
        figures = _figures(await site.get("/metrics"))
        refused = {labels: n for (name, labels), n in figures.items() if "refused" in name}
        assert refused == {("registration-required", "auth"): 1}


class Unforeseen(Exception):
    """What no room expects."""


async def _fails(*_: object) -> None:
    raise Unforeseen


def _fails_at_once(*_: object) -> None:
    raise Unforeseen


async def test_what_nobody_has_foreseen_is_counted_and_the_room_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlets = Feeds(directory=str(tmp_path), hub="https://hub.test/")
    async with wired_pages(tmp_path, feeds=outlets) as (wire, site), asyncio.TaskGroup() as group:
        service = wire.service
        hub, copies = service.hub, service.copies
        assert hub is not None
        assert copies is not None
        for room, name in (
            (service.own_cards, "_take_over"), (service.appearance, "_tell"),
            (service.digests, "tick"), (copies, "_step"), (hub, "_tell"),
        ):  # fmt: skip
            monkeypatch.setattr(room, name, _fails)
        monkeypatch.setattr(service.volume, "sample", _fails_at_once)
        monkeypatch.setattr(service.delivery, "tick", _fails_at_once)
        monkeypatch.setattr("xmpprelay.volume.SAMPLE_EVERY_S", 0.0)
        monkeypatch.setattr("xmpprelay.service.TICK_S", 0.0)
        ticking = group.create_task(service._tick())
        hub.start()
        copies.start()
        service.volume.start()
        for line in ("join alice", 'profile name "Alice"', "hello"):
            wire.says("alice@example.test/x", line)
            await wire.quiet()
        service.digests.minute()
        rooms = (service.own_cards, service.appearance, service.digests, copies, hub)
        async with asyncio.timeout(10.0):
            while not (  # noqa: ASYNC110 - looked at in each turn of the loop
                all(room.failures for room in rooms)
                and service.volume.failures
                and service._failures
            ):
                await asyncio.sleep(0)
        ticking.cancel()
        figures = _figures(await site.get("/metrics"))
        for name, count in service.failures().items():
            assert (count > 0) is (name in ("profiles", "feeds", "minute")), name
            assert (figures["xmpprelay_failures_total", (name,)] > 0) is (count > 0)


# The board


OTHERS = {"kind", "le", "lane", "primary", "condition", "type", "route", "status", "room"}
"""Labels of our figures; what is summed by another name is a slip of the pen."""


def _board() -> Any:
    return json.loads((ROOT / "examples" / "grafana.json").read_text())


def _questions() -> list[str]:
    board = _board()
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return asked + [each["expr"] for each in board["annotations"]["list"]]


async def test_every_figure_is_explained(tmp_path: Path) -> None:
    async with wired_pages(tmp_path) as (_, site):
        told = re.findall("^# TYPE (xmpprelay_[a-z_]+)", (await site.get("/metrics")).text, re.M)
    explained = re.findall("xmpprelay_[a-z_]+", (ROOT / "docs" / "operations.md").read_text())
    assert set(told) - {"xmpprelay_journal_write_seconds_created"} == set(explained)


async def test_every_figure_on_the_board_is_there_and_every_one_of_ours_is_on_it(
    tmp_path: Path,
) -> None:
    async with wired_pages(tmp_path) as (_, site):
        text = (await site.get("/metrics")).text
    there = {
        name
        for family in text_string_to_metric_families(text)
        for name in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }
    asked = {name for expr in _questions() for name in re.findall(r"[a-z_]+(?=\{)", expr)}
    assert asked <= there
    families = {each.name for each in text_string_to_metric_families(text)}
    shown = {re.sub("_(total|bucket)$", "", name) for name in asked}
    ours = {name for name in families if name.startswith("xmpprelay_")}
    writes = "xmpprelay_journal_write_seconds_created"  # which the library adds to a histogram
    assert ours - shown == {"xmpprelay_build_info", "xmpprelay_journal_waiting", writes}


def test_the_board_sums_by_labels_that_there_are_and_names_no_place_of_its_own() -> None:
    for expr in _questions():
        for names in re.findall(r"by \(([^)]*)\)", expr):
            assert set(names.split(", ")) <= OTHERS, expr
        assert expr.count("{") == expr.count('{instance=~"$instance"'), expr
        assert expr.count("(") == expr.count(")"), expr
    panels = _board()["panels"]
    places = [panel["gridPos"] for panel in panels]
    taken = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken)), "two panels on one spot"
    assert all(x < 24 for x, _ in taken)
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)

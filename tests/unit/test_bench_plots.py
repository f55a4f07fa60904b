"""What is drawn of the figures of benchmarks (tests/bench/plots.py, drawing.py)."""

import json
from pathlib import Path

import pytest

from tests.bench.drawing import draw
from tests.bench.plots import Bars, Shares, number, plots_of, read, shares, tick


def _fanout(followers: int, **servers: float) -> dict[str, object]:
    """A file in which the relay has so much of the server's own rate, which is 1000."""
    turns = {
        name: {
            way: [{"per_s": 1000 * part * by, "first_ms": 1.0, "last_ms": 2.0} for by in (1, 3, 1)]
            for way, part in (("own", 1.0), ("plain", 0.5), ("relay", relay))
        }
        for name, relay in servers.items()
    }
    return {
        "plan": {"followers": followers},
        "servers": {
            name: {
                "title": name.title(),
                "turns": ways,
                "ratios": {way: {"per_s": ways[way][0]["per_s"] / 1000} for way in ways},
            }
            for name, ways in turns.items()
        },
    }


def test_a_fan_out_is_drawn_by_server_and_followers() -> None:
    told = [_fanout(5000, prosody=0.75), _fanout(100, prosody=0.5, ejabberd=0.8)]
    plots = plots_of({"fanout": told})
    assert list(plots) == ["fanout-rates", "fanout-times"]
    prosody, ejabberd = plots["fanout-rates"][1]
    assert isinstance(prosody, Bars)
    assert isinstance(ejabberd, Bars)
    assert (prosody.title, prosody.groups) == ("Prosody", ("100", "5,000"))
    assert prosody.series["the relay"] == (500.0, 750.0)  # medians
    assert prosody.labels["the relay"] == ("×0.50", "×0.75")
    assert ejabberd.groups == ("100",)
    times = plots["fanout-times"][1][0]
    assert isinstance(times, Bars)
    assert times.groups == ("100,\nfirst", "100,\nlast", "5,000,\nfirst", "5,000,\nlast")
    assert times.series["send_message()"] == (1.0, 2.0, 1.0, 2.0)


def test_times_are_drawn_ascending_and_what_is_no_time_of_a_post_is_not() -> None:
    times = {"nobody comes": [3.0, 1.0], "the relay's own, all log in": [900.0]}
    _, (panel,) = plots_of({"floods": [{"times": times}]})["floods"]
    assert isinstance(panel, Shares)
    assert panel.series == {"nobody comes": (1.0, 3.0)}


def test_what_only_counts_is_drawn_before_real_servers() -> None:
    told = [
        {
            "plan": {"server": server, "followers": followers},
            "rows": {"crowded": {"ms": [2.0, 1.0], "direct_ms": direct_ms}},
        }
        for server, followers, direct_ms in (("prosody", 5000, [0.5]), (None, 10_000, []))
    ]
    counting, prosody = plots_of({"crowded": told})["crowded"][1]
    assert counting.title == "a server that only counts: one has 10,000 followers"
    assert prosody.title == "prosody: one has 5,000 followers"
    assert isinstance(counting, Shares)
    assert isinstance(prosody, Shares)
    assert counting.series == {"crowded": (1.0, 2.0)}
    assert prosody.series == {"crowded": (1.0, 2.0), "crowded: a chat message, no relay": (0.5,)}


def test_a_curve_ends_where_all_are() -> None:
    assert shares((1.0, 2.0, 2.0, 8.0)) == [(1.0, 25.0), (2.0, 50.0), (2.0, 75.0), (8.0, 100.0)]
    many = shares(tuple(float(value) for value in range(1, 10_001)))
    assert len(many) == 100
    assert many[-1] == (10_000.0, 100.0)


def test_files_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("fanout-5000", "fanout-100", "limit", "notes"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name}))
    found = read(tmp_path)
    assert {kind: [told["name"] for told in each] for kind, each in found.items()} == {
        "fanout": ["fanout-100", "fanout-5000"],
        "limit": ["limit"],
    }


@pytest.mark.parametrize(
    ("value", "shown", "at_an_axis"),
    [
        (0.0412, "0.04", "0.0412"),
        (3.44, "3.4", "3.44"),
        (150, "150", "150"),
        (4421, "4.4 k", "4.421 k"),
        (246_000, "246 k", "246 k"),
        (2_769_000, "2.77 M", "2.769 M"),
    ],
)
def test_numbers_are_short(value: float, shown: str, at_an_axis: str) -> None:
    assert (number(value), tick(value)) == (shown, at_an_axis)


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    bars = Bars("here", "ms", ("a", "b"), {"x": (1.0, None)}, {"x": ("1", "")}, log=True)
    plot = ("All of it", (bars, Shares("there", "ms", {"x": (1.0, 20.0), "y": (2.0, 3.0)})))
    files = [tmp_path / name for name in ("first.svg", "second.svg")]
    for file in files:
        draw(plot, file)
    first, second = (file.read_text() for file in files)
    assert first == second
    for text in ("All of it", "here", "there"):
        assert f">{text}<" in first  # as text, for search and small files

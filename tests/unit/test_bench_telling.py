"""What a benchmark tells of what it has found."""

import json

from xmpprelay.bench.measuring import Found, Plan, Turn, Used
from xmpprelay.bench.tally import Account
from xmpprelay.bench.telling import as_json, ratios, table, told

NAMES = {"own": "the server's own pubsub", "relay": "the relay"}
WELL = Account(expected=1000, lost=0, doubled=0, examples=())


def turn(per_s: float, first_ms: float, way: float | None = None) -> Turn:
    used = Used(way, None, 1.0)
    return Turn(per_s, used, first_ms, 2 * first_ms, 3 * first_ms, used)


TURNS = {
    "own": [turn(100, 4), turn(200, 2), turn(100, 4)],
    "relay": [turn(50, 2, 7.0), turn(400, 2, 9.0), turn(300, 1, 8.0)],
}
FOUND = Found(TURNS, 1 << 20, 3 << 20, WELL)


def test_ratios_are_of_the_same_round_and_their_median_is_told() -> None:
    found = ratios(TURNS)
    assert found["own"] == {"per_s": 1, "first_ms": 1, "last_ms": 1}
    assert found["relay"] == {"per_s": 2, "first_ms": 0.5, "last_ms": 0.5}


def test_a_table_has_a_line_for_each_way_and_a_dash_for_what_is_not_known() -> None:
    lines = list(table("A server", Plan(10, 3, 20, 20), FOUND, NAMES))
    assert lines[0] == "A server: 10 followers, medians of 3 rounds"
    assert lines[2].split() == ["the", "server's", "own", "pubsub", "100", "1.00", "–", "–"]
    assert lines[3].split() == ["the", "relay", "300", "2.00", "8.0", "–"]
    assert lines[6].split() == ["the", "relay", "2.0", "0.50", "8.0", "–", "4.0", "0.50", "6.0"]
    assert max(map(len, lines)) <= 80
    one = list(table("A server", Plan(10, 1, 20, 20), FOUND, NAMES))
    assert one[0] == "A server: 10 followers, one round"


def test_all_of_it_goes_into_json() -> None:
    written = json.loads(json.dumps(as_json("A server", FOUND)))
    assert written["title"] == "A server"
    assert written["turns"]["relay"][2]["first_ms"] == 1
    assert written["account"]["expected"] == 1000
    assert written["ratios"]["relay"]["per_s"] == 2


def test_what_was_lost_or_came_twice_is_told_loudly() -> None:
    assert WELL.well
    assert told(WELL) == "of 1,000 deliveries nothing was lost, and nothing came twice"
    for lost, doubled in ((1, 0), (0, 2)):
        account = Account(1000, lost, doubled, ("bob had post 1.2 3 times",))
        assert not account.well
        assert f"{lost} WERE LOST, and {doubled} CAME TWICE: bob had post 1.2" in told(account)

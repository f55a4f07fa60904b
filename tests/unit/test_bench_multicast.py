"""The benchmark of XEP-0033: each follower is in one stanza, with at most twenty others."""

import re

import pytest

from tests.bench.multicast import GROUP, WAYS, Way, written


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("count", [1, 20, 45])
def test_each_is_addressed_once(way: Way, count: int) -> None:
    people = [f"f{n}@example.test" for n in range(count)]
    stanzas = written(way, people, ("<message", "<body/></message>")).split("</message>")[:-1]
    found = [re.findall(r"f\d+@example\.test", stanza) for stanza in stanzas]
    assert [jid for each in found for jid in each] == people
    assert max(map(len, found)) <= (GROUP if way.grouped else 1)
    assert all(("type='bcc'" in stanza) == way.grouped for stanza in stanzas)

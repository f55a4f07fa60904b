"""Every story cites the rules that it shows, and every rule has a story, or a test of another kind.

docs/semantics.md has the rules.
"""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.scenarios.story import STORIES, Story

REPOSITORY: Final = Path(__file__).parents[2]

OTHERWISE: Final = {
    # What is in a stanza, and no reader sees.
    "S1.3": "tests/integration/test_posting.py",
    "S5.5": "tests/integration/test_following.py",
    "S6.6": "tests/integration/test_keeping_out.py",
    "S8.3": "tests/integration/test_reporting.py",
    "S9.3": "tests/contract/test_posts.py",
    # Who is quicker.
    "S11.3": "tests/unit/test_returns.py",
    # Presence that somebody hides, or has not shown for months.
    "S11.4": "tests/integration/test_returns.py",
    "S11.5": "tests/unit/test_delivery.py",
    # Limits, and crowds that reach them.
    "S10.5": "tests/integration/test_writing.py",
    "S12.5": "tests/faults/test_floods.py",
    "S12.6": "tests/unit/test_newcomers.py",
    # What is at a primary, and accounts elsewhere.
    "S14.1": "tests/contract/test_insertion.py",
    "S14.2": "tests/integration/test_linking.py",
    "S14.3": "tests/integration/test_linking.py",
    "S14.4": "tests/unit/test_insertion.py",
    "S14.5": "tests/contract/status_suite.py",
    "S14.6": "tests/unit/test_mentions.py",
    "S14.7": "tests/unit/test_insertion.py",
    "S14.8": "tests/unit/test_insertion.py",
    "S14.9": "tests/integration/test_cli_primary.py",
    "S14.10": "tests/contract/test_insertion.py",
    "S14.11": "tests/unit/test_insertion.py",
    "S14.12": "tests/contract/test_insertion.py",
    # Nodes, which are seen by clients of another kind.
    "S16.1": "tests/integration/test_pubsub.py",
    "S16.2": "tests/integration/test_pubsub_conformance.py",
    "S16.3": "tests/unit/test_events.py",
    "S16.4": "tests/integration/test_pubsub.py",
    "S16.5": "tests/contract/test_items.py",
    "S16.6": "tests/properties/test_outlets.py",
    "S16.7": "tests/integration/test_pubsub_conformance.py",
    # Nodes at people's own servers.
    "S17.1": "tests/integration/test_sources.py",
    "S17.2": "tests/integration/test_sources.py",
    "S17.3": "tests/integration/test_sources.py",
    "S17.4": "tests/integration/test_sources.py",
    "S17.5": "tests/integration/test_sources.py",
    "S17.6": "tests/integration/test_sources.py",
    "S17.7": "tests/integration/test_sources.py",
    # Feeds, which are read by no Jabber client.
    "S18.1": "tests/integration/test_web_feeds.py",
    "S18.2": "tests/integration/test_web_feeds.py",
    "S18.3": "tests/integration/test_web_feeds.py",
    "S18.4": "tests/integration/test_web_feeds.py",
    "S18.5": "tests/integration/test_web_feeds.py",
    "S18.6": "tests/integration/test_web_feeds.py",
    "S18.7": "tests/integration/test_feed_outlets.py",
    # What takes more than a year.
    "S19.1": "tests/contract/test_retention.py",
    "S19.2": "tests/contract/test_retention.py",
    "S19.3": "tests/contract/test_retention.py",
    "S19.4": "tests/contract/test_retention.py",
    "S19.5": "tests/contract/test_retention.py",
}
"""The rules that no story shows, and who does."""


def rules() -> set[str]:
    """The number of every rule: S2.1, and S7 where a section is one rule."""
    found: set[str] = set()
    text = (REPOSITORY / "docs" / "semantics.md").read_text(encoding="utf-8")
    for section in re.split(r"^## (?=S\d)", text, flags=re.MULTILINE)[1:]:
        name = section.partition(" ")[0]
        numbers = re.findall(r"^(\d+)\. ", section, flags=re.MULTILINE)
        found |= {f"{name}.{number}" for number in numbers} or {name}
    return found


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_story_cites_rules_that_there_are(story: Story) -> None:
    assert story.rules
    assert set(story.rules) <= rules()


def test_each_rule_has_a_story_or_is_shown_otherwise() -> None:
    cited = {rule for story in STORIES for rule in story.rules}
    assert rules() - cited == set(OTHERWISE)
    for file in OTHERWISE.values():
        assert (REPOSITORY / file).exists()


def test_there_are_stories_of_one_server_and_of_two() -> None:
    assert len(STORIES) >= 60
    assert sum(bool(story.elsewhere) for story in STORIES) >= 12

"""What tells one primary from another: where it is, and nothing that may change by itself."""

import pytest

from xmpprelay.config import Primary, Secret
from xmpprelay.primary.names import primary_name, services_of

SITES = ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("primary", "name"),
    [
        (
            Primary(driver="sql", url="sqlite:////srv/posts.db", table="post"),
            "sql sqlite:////srv/posts.db post",
        ),
        (
            Primary(driver="sql", url="postgresql://relay:secret@db:5433/social?sslmode=require"),
            "sql postgresql://db:5433/social post",
        ),
        (
            Primary(driver="sql", url="postgresql:///social?host=/run/pg&passfile=/etc/pass"),
            "sql postgresql:///social host /run/pg post",
        ),
        (Primary(driver="pubsub", service="pubsub.example", node="n"), "pubsub pubsub.example n"),
        (
            Primary(driver="webhook", url="https://me:secret@example.org/posts?token=secret"),
            "webhook https://example.org/posts",
        ),
        (
            Primary(driver="mastodon", url="https://a.example", token=Secret("t")),
            "mastodon https://a.example",
        ),
        (Primary(driver="mastodon", instances=SITES), "mastodon (linked accounts)"),
    ],
)
def test_a_primary_is_called_by_where_it_is(primary: Primary, name: str) -> None:
    assert primary_name(primary) == name
    if not primary.instances:
        assert services_of(primary) == {"": name}


def test_an_instance_is_called_the_same_whoever_has_the_account() -> None:
    linked = services_of(Primary(driver="mastodon", instances=SITES))
    assert linked == {site: f"mastodon {site}" for site in SITES}
    one = services_of(Primary(driver="mastodon", url=SITES[0], token=Secret("t")))
    assert one[""] == linked[SITES[0]]

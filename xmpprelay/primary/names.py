"""What a primary service is called where it is kept which service has a post.

No secret is in a name, and nothing that may change while the posts stay where they are: a password,
a token in an address, how a connection is made.
"""

from urllib.parse import parse_qsl, urlsplit

from xmpprelay.config import Primary


def services_of(primary: Primary) -> dict[str, str]:
    """The service of each site of a configuration; where there is only one, its site is empty."""
    match primary.driver:
        case "none":
            return {}
        case "sql":
            where = f"{_place_of(primary.url)} {primary.table}"
        case "pubsub":
            where = f"{primary.service} {primary.node}"
        case "mastodon" if primary.instances:
            return {site: f"mastodon {site}" for site in primary.instances}
        case _:
            where = _place_of(primary.url)
    return {"": f"{primary.driver} {where}"}


def primary_name(primary: Primary) -> str:
    """What the primary is called as a whole, whichever instances there are for linked accounts."""
    return services_of(primary).get("") or f"{primary.driver} (linked accounts)"


def _place_of(url: str) -> str:
    """A URL without who asks, and how."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    named = [f" {key} {value}" for key, value in parse_qsl(parts.query) if key in ("host", "port")]
    return f"{parts.scheme}://{address}{parts.path}{''.join(named)}"

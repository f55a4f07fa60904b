"""Where things are to be seen on the web, below the operator's address: pure, for all who name it.

A secret address has the secret as a part of its path, and nothing else in it tells whose it is.
"""

from dataclasses import dataclass
from urllib.parse import quote

from xmpprelay.core.text import short_id


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses below `base_url`, which has no slash at its end; empty: there are no pages."""

    base_url: str

    @property
    def front(self) -> str:
        """What this is, and how to join."""
        return f"{self.base_url}/"

    @property
    def status(self) -> str:
        """How the relay and its primary are."""
        return f"{self.base_url}/status"

    @property
    def status_data(self) -> str:
        """The same for programs."""
        return f"{self.status}.json"

    def author(self, handle: str) -> str:
        """An author's page."""
        return f"{self.base_url}/@{handle}"

    def post(self, handle: str, number: int) -> str:
        """The page of an author's post."""
        return f"{self.author(handle)}/{short_id(number)}"

    def picture(self, handle: str) -> str:
        """An author's picture."""
        return f"{self.author(handle)}/picture.png"

    def feed(self, handle: str, kind: str = "atom") -> str:
        """The feed of an author's public posts, as `atom` or `rss`."""
        return f"{self.author(handle)}.{kind}"

    def feed_with_replies(self, handle: str) -> str:
        """The same with his replies to others, as Atom."""
        return f"{self.author(handle)}/with-replies.atom"

    def tag(self, tag: str) -> str:
        """The feed of public posts with a hashtag, as Atom."""
        return f"{self.base_url}/tag/{quote(tag, safe='')}.atom"

    def home(self, secret: str, kind: str = "atom") -> str:
        """The feed of those whom somebody follows, by his secret."""
        return f"{self.base_url}/home/{secret}.{kind}"

    def mentions(self, secret: str) -> str:
        """The feed of what names somebody, by his secret."""
        return f"{self.base_url}/mentions/{secret}.atom"

"""Who the people are and who follows whom, both directions, in memory.

The graph is loaded at the start and changed after each commit, in commit order; it never reads the
database. Its job is to answer, for every post, "who are the candidates in this lane, in ascending
person id", without work per post: the answer is kept per author until one of his follows changes.
Whether a candidate really gets a post is the business of `core/routing.py`.
"""

from collections.abc import Iterable, Iterator

from xmpprelay.core.model import OWN_LANE, Follow, Mode, Person

_MODES = (Mode.AUTHOR, Mode.HOME)
_MODE_BITS = 2  # a follow is one int, `since << 2 | mode`: a million follows are dict entries only


class Graph:
    """People, handles and follows.

    `local_domains` are the server's own domains: their people share the own lane.
    """

    def __init__(self, local_domains: Iterable[str]) -> None:
        self._local = frozenset(local_domains)
        self._people: dict[int, Person] = {}
        self._by_jid: dict[str, int] = {}
        self._by_handle: dict[str, int] = {}
        self._following: dict[int, dict[int, int]] = {}
        self._followers: dict[int, set[int]] = {}
        self._candidates: dict[int, dict[str, tuple[int, ...]]] = {}

    # People

    def add_person(self, person: Person) -> None:
        """Take up a person, or the same person with a new handle."""
        before = self._people.get(person.id)
        if before is not None and before.handle is not None:
            del self._by_handle[before.handle]
        self._people[person.id] = person
        self._by_jid[person.jid] = person.id
        if person.handle is not None:
            self._by_handle[person.handle] = person.id

    def person(self, person_id: int) -> Person:
        """The person with that id; KeyError when there is none."""
        return self._people[person_id]

    def by_jid(self, jid: str) -> Person | None:
        """The person with that bare JID, or None."""
        person_id = self._by_jid.get(jid)
        return None if person_id is None else self._people[person_id]

    def by_handle(self, handle: str) -> Person | None:
        """The person who holds that handle (in any case), or None."""
        person_id = self._by_handle.get(handle.lower())
        return None if person_id is None else self._people[person_id]

    def people(self) -> Iterator[Person]:
        """Everybody, in the order in which they became known."""
        return iter(self._people.values())

    def lane(self, person_id: int) -> str:
        """The lane of a person: `OWN_LANE`, or his domain."""
        return self.lane_of_jid(self._people[person_id].jid)

    def lane_of_jid(self, jid: str) -> str:
        """The lane of a bare JID: `OWN_LANE`, or its domain."""
        domain = jid.rpartition("@")[2]
        return OWN_LANE if domain in self._local else domain

    # Follows

    def add_follow(self, follow: Follow) -> None:
        """Take up a follow, or the same follow with another mode."""
        packed = follow.since << _MODE_BITS | _MODES.index(follow.mode)
        self._following.setdefault(follow.follower, {})[follow.author] = packed
        followers = self._followers.setdefault(follow.author, set())
        if follow.follower not in followers:
            followers.add(follow.follower)
            self._candidates.pop(follow.author, None)

    def end_follow(self, follower: int, author: int) -> None:
        """Forget a follow; nothing happens where there was none."""
        if self._following.get(follower, {}).pop(author, None) is not None:
            self._followers[author].discard(follower)
            self._candidates.pop(author, None)

    def follow(self, follower: int, author: int) -> Follow | None:
        """The follow of that author by that person, or None."""
        packed = self._following.get(follower, {}).get(author)
        if packed is None:
            return None
        mode = _MODES[packed & ((1 << _MODE_BITS) - 1)]
        return Follow(follower, author, mode, packed >> _MODE_BITS)

    def follows_since(self, follower: int, author: int) -> int | None:
        """The first post number that counts for that follow, or None where there is no follow."""
        following = self._following.get(follower)
        packed = None if following is None else following.get(author)
        return None if packed is None else packed >> _MODE_BITS

    def following(self, follower: int) -> Iterator[Person]:
        """The authors whom a person follows, in the order of his following them."""
        return (self._people[author] for author in self._following.get(follower, ()))

    def followers(self, author: int) -> Iterator[Person]:
        """The followers of an author, in ascending person id."""
        return (self._people[person] for person in sorted(self._followers.get(author, ())))

    def follower_count(self, author: int) -> int:
        """How many follow an author."""
        return len(self._followers.get(author, ()))

    def lanes(self, author: int) -> tuple[str, ...]:
        """The lanes in which an author has candidates, sorted."""
        return tuple(self._by_lane(author))

    def candidates(self, author: int, lane: str) -> tuple[int, ...]:
        """Everybody in a lane who may get a post of an author, in ascending person id.

        The author himself is never among them (S1.7).
        """
        return self._by_lane(author).get(lane, ())

    def _by_lane(self, author: int) -> dict[str, tuple[int, ...]]:
        kept = self._candidates.get(author)
        if kept is None:
            lists: dict[str, list[int]] = {}
            for person in sorted(self._followers.get(author, ())):
                if person != author:
                    lists.setdefault(self.lane(person), []).append(person)
            kept = {lane: tuple(lists[lane]) for lane in sorted(lists)}
            self._candidates[author] = kept
        return kept

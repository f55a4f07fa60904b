"""Who the people are and who follows whom, both directions, in memory.

The graph is loaded at the start and changed after each commit, in commit order; it never reads the
database. Its job is to answer, for every post, "who are the candidates in this lane, in ascending
person id", without work per post: the answer is kept per author until one of his follows changes.
Whether a candidate really gets a post is the business of `core/routing.py`, which finds here all
that it asks: follows, blocks (`blocks.py`), what each has chosen (`wishes.py`), who is protected.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from xmpprelay.core.blocks import OPERATOR, Blocks
from xmpprelay.core.model import CHANGES, OWN_LANE, Follow, Kind, Mode, Person, Post
from xmpprelay.core.wishes import NO_WISHES, Whose, Wishes

_MODES = (Mode.AUTHOR, Mode.HOME, Mode.PUBSUB, Mode.PUBSUB_BODY)
_MODE_BITS = 2  # a follow is one int, `since << 2 | mode`: a million follows are dict entries only


class Graph:
    """People, handles, follows, blocks and wishes.

    `local_domains` are the server's own domains: their people share the own lane. `revision` grows
    with every change of what is kept here but people and follows, `follow_revision` with every
    change of a follow: what was routed before it may have to be routed again. `public_revision`
    grows with every change of what anybody may see, whoever he is: with protection, and with blocks
    by the operator.
    """

    def __init__(self, local_domains: Iterable[str]) -> None:
        self._local = frozenset(local_domains)
        self._people: dict[int, Person] = {}
        self._by_jid: dict[str, int] = {}
        self._by_handle: dict[str, int] = {}
        self._handles: list[str] | None = None  # sorted, from when somebody asks for them
        self._following: dict[int, dict[int, int]] = {}
        self._followers: dict[int, set[int]] = {}
        self._candidates: dict[int, dict[str, tuple[int, ...]]] = {}
        self._blocks = Blocks()
        self._wishes: dict[int, Wishes] = {}
        self._protected: set[int] = set()
        self._refuses: dict[int, set[int]] = {}  # author -> whose servers refuse him
        self._choosy: set[int] = set()  # whose wishes may keep anybody's plain post away
        self._wary: dict[int, set[int]] = {}  # person -> whose wishes are about him
        self._replies: dict[Whose, set[int]] = {whose: set() for whose in Whose}
        self._newest_since: dict[int, int] = {}  # author -> the highest `since` of a follow of his
        self._changed: dict[int, int] = {}  # author -> `follow_revision` of the last change
        self.revision = 0
        self.follow_revision = 0
        self.public_revision = 0

    # People

    def add_person(self, person: Person) -> None:
        """Take up a person, or the same person with a new handle."""
        before = self._people.get(person.id)
        if before is not None and before.handle is not None:
            self._unname(before.handle)
        self._people[person.id] = person
        self._by_jid[person.jid] = person.id
        if person.handle is not None:
            self._by_handle[person.handle] = person.id
            if self._handles is not None:
                insort(self._handles, person.handle)

    def _unname(self, handle: str) -> None:
        del self._by_handle[handle]
        if self._handles is not None:
            del self._handles[bisect_left(self._handles, handle)]

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

    def handles(self) -> tuple[str, ...]:
        """All handles, in alphabetical order, as they are now."""
        if self._handles is None:
            self._handles = sorted(self._by_handle)
        return tuple(self._handles)

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

    def load_follows(self, follows: Iterable[Follow]) -> None:
        """Take up all that is stored, at the start: nobody has followed before, each pair is once.

        What many have in common is kept once, and sets are made in the size that they need: a
        million follows take a third of the memory that they take one by one.
        """
        ids = {person: person for person in self._people}  # the object for each equal number
        same: dict[int, int] = {}
        bits = {mode: bit for bit, mode in enumerate(_MODES)}
        followers: dict[int, list[int]] = {author: [] for author in ids}
        newest = dict.fromkeys(ids, 0)
        follower: int | None = None
        mine: dict[int, int] = {}
        for each in follows:
            author, since = each.author, each.since
            if each.follower != follower:  # they come by follower
                follower = ids[each.follower]
                mine = self._following.setdefault(follower, {})
            followed_by = followers[author]
            packed = since << _MODE_BITS | bits[each.mode]
            mine[ids[author]] = same.setdefault(packed, packed)
            followed_by.append(follower)
            if since > newest[author]:
                newest[author] = since
        for author in ids:
            # From a list, a set grows to up to four times what it needs; from a dict it does not.
            if followed_by := followers.pop(author):
                self._followers[author] = set(dict.fromkeys(followed_by))
                self._newest_since[author] = newest[author]
                self._follow_changed(author)

    def add_follow(self, follow: Follow) -> None:
        """Take up a follow, or the same follow with another mode."""
        packed = follow.since << _MODE_BITS | _MODES.index(follow.mode)
        self._following.setdefault(follow.follower, {})[follow.author] = packed
        newest = self._newest_since.get(follow.author, 0)
        self._newest_since[follow.author] = max(newest, follow.since)
        followers = self._followers.setdefault(follow.author, set())
        if follow.follower not in followers:
            followers.add(follow.follower)
            self._candidates.pop(follow.author, None)
        self._follow_changed(follow.author)

    def end_follow(self, follower: int, author: int) -> None:
        """Forget a follow; nothing happens where there was none."""
        if self._following.get(follower, {}).pop(author, None) is not None:
            self._followers[author].discard(follower)
            self._candidates.pop(author, None)
            self._follow_changed(author)

    def _follow_changed(self, author: int) -> None:
        self.follow_revision += 1
        self._changed[author] = self.follow_revision

    def followed_at(self, author: int) -> int:
        """The `follow_revision` of the last change of an author's followers; 0: there was none."""
        return self._changed.get(author, 0)

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

    def lanes(self, post: Post) -> list[str]:
        """The lanes in which an entry of the journal has candidates, sorted."""
        followers = () if _is_letter(post) else self._by_lane(post.author)
        named = post.concerns
        if not named:  # as nearly always; and those are sorted
            return list(followers)
        lanes = {self.lane(person) for person in named if person != post.author}
        return sorted(lanes.union(followers))

    def candidates(self, post: Post, lane: str) -> tuple[int, ...]:
        """Everybody in a lane who may get an entry of the journal, in ascending person id.

        They are the author's followers and whom it is addressed to; of a direct message only the
        latter. The author himself is never among them (S1.7).
        """
        author = post.author
        named = {p for p in post.concerns if p != author and self.lane(p) == lane}
        if _is_letter(post):
            return tuple(sorted(named))
        followers = self._by_lane(author).get(lane, ())
        if not named:
            return followers
        named.difference_update(self._followers.get(author, ()))
        return tuple(sorted((*followers, *named)))

    def reach(self, post: Post) -> tuple[set[int], set[int]] | None:
        """Followers to whom a post may come, and those of them about whom has to be asked.

        It comes to nobody else but whom it names, and to all others of the first: none of them
        blocks the author or anybody whom the post names, none is blocked, and no wish of theirs has
        to do with it. None: it is not known, so everybody has to be asked about. It is what makes
        the audience of ten thousand a matter of sets.
        """
        author, targets = post.author, post.targets
        if post.number < self._newest_since.get(author, 0):
            return None
        if self.barred(self._people[author].jid):
            return None
        reached = self._followers.get(author, set())
        if targets and targets[0] != author:
            following = reached & self._followers.get(targets[0], set())
            reached = reached & self._replies[Whose.ALL] | following - self._replies[Whose.NONE]
        asked = reached & self._choosy
        asked |= reached & self._refuses.get(author, set())
        for person in (author, *post.addressed):
            asked |= reached & self._wary.get(person, set())
            asked |= reached & self._blocks.owners(self._people[person].jid)
        for owner in (OPERATOR, author, *targets[:1]):
            asked |= reached & set(self._blocked(owner, author))
        return reached, asked

    def _blocked(self, owner: int, author: int) -> Iterator[int]:
        """The followers of an author whom an owner may block, and maybe others."""
        blocks = self._blocks
        if not blocks.owns(owner):
            return
        yield from (self._by_jid[each] for each in blocks.of(owner) if each in self._by_jid)
        for lane, people in self._by_lane(author).items():
            domains = self._local if lane == OWN_LANE else (lane,)
            if any(blocks.has(owner, domain) for domain in domains):
                yield from people

    # Blocks

    @property
    def blocks(self) -> Blocks:
        """All blocks, for reading."""
        return self._blocks

    def block(self, owner: int, target: str) -> None:
        """Take up a block by a person, or by `OPERATOR`."""
        self._blocks.add(owner, target)
        self._block_changed(owner)

    def unblock(self, owner: int, target: str) -> bool:
        """End a block; whether there was one."""
        self._block_changed(owner)
        return self._blocks.remove(owner, target)

    def _block_changed(self, owner: int) -> None:
        self.revision += 1
        self.public_revision += owner == OPERATOR

    def cut(self, one: int, other: int) -> bool:
        """Whether nothing may pass between two people (S6.1, S6.4)."""
        here, there = self._people[one], self._people[other]
        blocks = self._blocks
        return blocks.cut(here, there) or blocks.barred(here) or blocks.barred(there)

    def barred(self, jid: str) -> bool:
        """Whether the operator has blocked a bare JID (S6.4)."""
        return self._blocks.has(OPERATOR, jid)

    def hides(self, jid: str, author: int) -> bool:
        """Whether for a bare JID, known or not, an author is one who does not exist (S6.1, S6.4).

        It is what reading goes by: profiles, addresses, probes. To himself everybody exists.
        """
        person = self._people[author]
        if person.jid == jid:
            return False
        if self.barred(jid) or self.barred(person.jid) or self._blocks.has(author, jid):
            return True
        asker = self._by_jid.get(jid)
        return asker is not None and self._blocks.has(asker, person.jid)

    def refuse(self, person: int, author: int) -> None:
        """A person's server refuses what comes from an author's address (S6.6)."""
        self._refuses.setdefault(author, set()).add(person)
        self.revision += 1

    def accept_again(self, person: int, author: int) -> bool:
        """Send to him from that author again; whether that was not so before (S6.6)."""
        if not self.refuses(person, author):
            return False
        self._refuses[author].discard(person)
        self.revision += 1
        return True

    def refuses(self, person: int, author: int) -> bool:
        """Whether a person's server is known to refuse what comes from an author's address."""
        return person in self._refuses.get(author, ())

    # What people have chosen

    def wishes(self, person: int) -> Wishes:
        """What a person has chosen."""
        return self._wishes.get(person, NO_WISHES)

    def set_wishes(self, person: int, wishes: Wishes) -> None:
        """What a person has chosen from now on."""
        before = self.wishes(person)
        if wishes == NO_WISHES:
            self._wishes.pop(person, None)
        else:
            self._wishes[person] = wishes
        self._weigh(person, before, wishes)
        self.revision += 1

    def _weigh(self, person: int, before: Wishes, wishes: Wishes) -> None:
        for each in before.wary_of or ():
            self._wary[each].discard(person)
        for each in wishes.wary_of or ():
            self._wary.setdefault(each, set()).add(person)
        (self._choosy.add if wishes.wary_of is None else self._choosy.discard)(person)
        for whose, people in self._replies.items():
            (people.add if wishes.replies is whose else people.discard)(person)

    def protected(self, author: int) -> bool:
        """Whether only approved followers get what an author posts (S2.9)."""
        return author in self._protected

    def protect(self, author: int, on: bool) -> None:
        """Protect an author's posts, or make them public."""
        (self._protected.add if on else self._protected.discard)(author)
        self.revision += 1
        self.public_revision += 1

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


def _is_letter(post: Post) -> bool:
    """Whether it is a direct message, or the change of one."""
    changed = post.original if post.kind in CHANGES and post.original is not None else post
    return changed.kind is Kind.DIRECT

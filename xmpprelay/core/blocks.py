"""Who is cut off from whom (S6): people's own blocks, and the operator's.

A target is a bare JID, a domain (`spam.org`), or all below a domain (`*.spam.org`). A block works
in both directions, so the only question is whether two people are cut off from each other.
"""

from collections.abc import Iterable, Iterator

from xmpprelay.core.model import Person

OPERATOR = 0
"""The owner of the operator's blocks: no person has this id."""


class Blocks:
    """All blocks. Whether a target may be blocked at all is asked elsewhere."""

    def __init__(self) -> None:
        self._targets: dict[int, dict[str, None]] = {}  # owner -> targets, in order
        self._owners: dict[str, set[int]] = {}  # target -> who blocks it

    def add(self, owner: int, target: str) -> None:
        """Take up a block by a person, or by `OPERATOR`."""
        self._targets.setdefault(owner, {})[target] = None
        self._owners.setdefault(target, set()).add(owner)

    def remove(self, owner: int, target: str) -> bool:
        """End a block; whether there was one."""
        targets = self._targets.get(owner)
        if targets is None or target not in targets:
            return False
        del targets[target]
        if not targets:
            del self._targets[owner]
        self._disown(owner, target)
        return True

    def _disown(self, owner: int, target: str) -> None:
        owners = self._owners[target]
        owners.discard(owner)
        if not owners:
            del self._owners[target]

    def forget(self, owner: int) -> None:
        """End all blocks of somebody who leaves."""
        for target in self._targets.pop(owner, ()):
            self._disown(owner, target)

    def of(self, owner: int) -> Iterable[str]:
        """The targets of a person, or of `OPERATOR`, in the order in which they were blocked."""
        return tuple(self._targets.get(owner, ()))

    def has(self, owner: int, jid: str) -> bool:
        """Whether an owner blocks a bare JID, by itself or by its domain."""
        targets = self._targets.get(owner)
        return targets is not None and not targets.keys().isdisjoint(_covering(jid))

    def owners(self, jid: str) -> set[int]:
        """Who blocks a bare JID, by itself or by its domain."""
        return set().union(*(self._owners.get(target, ()) for target in _covering(jid)))

    def owns(self, owner: int) -> bool:
        """Whether an owner blocks anybody."""
        return owner in self._targets

    def none_by(self, *owners: int) -> bool:
        """Whether none of these blocks anybody."""
        return self._targets.keys().isdisjoint(owners)

    def cut(self, one: Person, other: Person) -> bool:
        """Whether nothing may pass between two people: either of them blocks the other (S6.1)."""
        return self.has(one.id, other.jid) or self.has(other.id, one.jid)

    def barred(self, person: Person) -> bool:
        """Whether the operator has blocked a person: then nothing passes at all (S6.4)."""
        return OPERATOR in self._targets and self.has(OPERATOR, person.jid)


def _covering(jid: str) -> Iterator[str]:
    """Every target that a bare JID falls under."""
    yield jid
    domain = jid.rpartition("@")[2]
    yield domain
    while "." in domain:
        domain = domain.partition(".")[2]
        yield f"*.{domain}"


def covers(target: str, jid: str) -> bool:
    """Whether a block of that target is one of that bare JID."""
    if "@" in target:
        return target == jid
    domain = jid.rpartition("@")[2]
    if target.startswith("*."):
        return domain.endswith(target[1:])
    return domain == target

"""What people have a claim to: who was entitled to a post from its making until now.

Whoever was shut out for a moment has none any more: the post may have passed him in that moment.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field

from tests.properties.audience_model import Entry, Plain, addressed, gets


@dataclass
class Claims:
    """The claims of all people of a world."""

    world: Plain
    people: Iterable[int]
    entries: Mapping[int, Entry]  # by number
    entitled: dict[int, set[int]] = field(default_factory=dict)
    personal: dict[int, set[int]] = field(default_factory=dict)  # of them, who get it in any case

    def made(self, entry: Entry) -> None:
        """An entry is in the journal."""
        people = {who for who in self.people if gets(self.world, entry, who)}
        self.entitled[entry.number], self.personal[entry.number] = people, people.copy()
        self.changed()

    def changed(self) -> None:
        """Something has changed in the world."""
        for number, people in self.entitled.items():
            entry = self.entries[number]
            people &= {who for who in people if gets(self.world, entry, who)}
            self.personal[number] &= {
                who for who in people if entry.kind == "direct" or self._is_named(entry, who)
            }

    def _is_named(self, entry: Entry, who: int) -> bool:
        mutes = self.world.mutes if entry.mutes is None else entry.mutes
        mute = mutes.get((who, entry.author))
        return who in entry.targets + entry.mentions and addressed(self.world, entry, who, mute)

    def unmet(
        self, has_had: Callable[[int, int], bool], left: Mapping[int, Set[int]]
    ) -> list[tuple[int, int]]:
        """(number, person) of what somebody has not had; `left` are numbers left to his `more`."""
        return [
            (number, who)
            for number, people in self.entitled.items()
            for who in sorted(people)
            if not has_had(who, number)
            and (number not in left.get(who, ()) or who in self.personal[number])
        ]

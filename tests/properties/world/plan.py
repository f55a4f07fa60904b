"""What kind of world a seed makes: its sizes, its delays, its faults."""

from dataclasses import dataclass
from random import Random
from typing import Final

from xmpprelay.core.delivery import Sizes

CALM: Final = "calm"  # nothing fails; devices sleep, clients block, the disk and domains dawdle
ONE: Final = "one fault"
STORM: Final = "storm"

EVERYTHING: Final = 1_000_000
"""A `catchup` that leaves nothing to `more`, so that a loss cannot hide there."""

FAULTS: Final = (
    "kill relay",
    "kill relay",
    "kill server",
    "kill remote server",
    "lose stream",
    "lose pings",
    "refuse domain",
    "hang domain",
    "slow domain",
)


@dataclass
class Plan:
    """The choices of one seed."""

    seed: int
    rng: Random
    mode: str
    sizes: Sizes
    catchup: int
    more: int
    moments: int
    slow_disk: float
    slow_wire: float
    batched_turns: bool
    tight: bool
    read_most: int
    faults: list[str]
    own_domain: str = "own.example"
    remote_domains: tuple[str, str] = ("one.example", "two.example")
    _serial: int = 0

    @classmethod
    def of(cls, seed: int) -> "Plan":
        """The plan of a seed."""
        rng = Random(seed)
        window = rng.choice((2, 2, 3, 3, 5, 8, 20, 100))
        mode = (CALM, ONE, STORM)[seed % 3]
        count = {CALM: 0, ONE: 1, STORM: rng.randint(3, 9)}[mode]
        return cls(
            seed=seed,
            rng=rng,
            mode=mode,
            sizes=Sizes(
                window=window,
                first_remote_window=min(window, rng.choice((1, 2, 5))),
                in_flight=rng.choice((2000, 2000, 6 * window, 3 * window)),
                recent=rng.choice((1, 4, 10, 30, 4096)),
            ),
            catchup=rng.choice((0, 3, 20)) if rng.random() < 0.12 else EVERYTHING,
            more=rng.choice((2, 5, 20)),
            moments=rng.randint(12, 26),
            slow_disk=rng.choice((0.0, 0.0, 0.02, 0.1, 0.3)),
            slow_wire=rng.choice((1.0, 1.0, 5.0, 20.0)),
            batched_turns=rng.random() < 0.3,
            tight=rng.random() < 0.15,
            read_most=rng.choice((5, 10_000, 10_000)),
            faults=[rng.choice(FAULTS) for _ in range(count)],
        )

    def serial(self) -> int:
        """A number not used before."""
        self._serial += 1
        return self._serial

    def commit_s(self) -> float:
        """How long a commit takes; now and then the disk stalls."""
        if self.rng.random() < self.slow_disk:
            return self.rng.uniform(0.5, 8.0)
        return self.rng.uniform(0.0005, 0.02)

    def wire_s(self) -> float:
        """How long a stanza takes between the relay and its server."""
        return self.rng.uniform(0.001, 0.02) * self.slow_wire

    def link_s(self) -> float:
        """How long a stanza takes between two servers."""
        return self.rng.uniform(0.01, 0.2)

    def turn_s(self) -> float:
        """How long until the shell gets to its work."""
        return self.rng.uniform(0.0, 0.05) if self.batched_turns else 0.0

    def read_s(self) -> float:
        """How long the journal takes to answer a read."""
        return self.rng.choice((0.001, 0.05, 1.0, 6.0))

    def room(self) -> int:
        """How much the stream takes at the moment."""
        if self.tight and self.rng.random() < 0.5:
            return self.rng.randint(0, 3)
        return self.sizes.in_flight

    def looks_at_disk(self) -> bool:
        """Whether the ledger looks what a kill would do now."""
        return self.rng.random() < 0.3

"""The language of the stories: who is in them, where they live, and what happens.

A story is a text file in one of the folders beside this file. Its first paragraph says what it
shows, and cites the rules of docs/semantics.md. Then one line is one step:

    alice: hello                    alice writes to home@relay …
      -> ok #1: 2 people            … and this is the answer; `…` stands for any ending
                                  (and `\\n` for the end of a line)
      -x feature-not-implemented    … or it is refused with this condition
    alice to bob: hello             the same, in the window of bob@relay
    alice to {relay}: hello         … or to an address as it stands there
    bob adds alice                  to his contact list; `removes` is the opposite
    bob gets from alice: hello      a post comes, from alice@relay …
    bob gets from home: alice: hello  #1    … or from home@relay, as it stands there
    bob is told: @carol …           home@relay says something that he has not asked for
    bob answers #1: hello           by his client's own means (XEP-0461), at home@relay …
    bob answers #1 to alice: hello  … or in the window of alice@relay
    alice corrects: hallo           her last message (XEP-0308), where she wrote it
    alice takes it back             her last message (XEP-0424)
    bob reacts to #1 with +         XEP-0444; `with nothing` takes it back
    bob gets instead of #1 from alice: hallo    a correction comes; then it reads so
    bob loses #1 from alice: (this post …       a retraction, with its text for older clients
    bob was told: @carol …          … before the last answer to him, or at any time
    bob leaves, bob comes           logs out, logs in; the relay has heard of it
    bob asks to add alice           the same, and nothing is known of an answer
    6 minutes pass, 3 hours pass    also seconds and days
    the operator blocks @alice      or unblocks
    the relay restarts
    bob lives elsewhere             on the second server, which is federated with the relay's

`{bob}` in a line is bob's bare JID, `{relay}` the relay's domain, `{elsewhere}` that of the second
server. Whoever is named is logged in from the start. At the end each has got the posts that are
written here, in that order, and no other.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_WHO: Final = r"(?P<who>[a-z]+)"
STEPS: Final[Mapping[str, re.Pattern[str]]] = {
    "says": re.compile(rf"{_WHO}(?: to (?P<whom>[a-z.]+))?: (?P<text>.*)"),
    "answer": re.compile(r"  -> (?P<text>.*)"),
    "refusal": re.compile(r"  -x (?P<text>[a-z-]+)"),
    "answers": re.compile(rf"{_WHO} answers #(?P<id>\w+)(?: to (?P<whom>[a-z]+))?: (?P<text>.*)"),
    "corrects": re.compile(rf"{_WHO} corrects: (?P<text>.*)"),
    "takes_back": re.compile(rf"{_WHO} takes it back"),
    "reacts": re.compile(rf"{_WHO} reacts to #(?P<id>\w+) with (?P<what>.+)"),
    "changed": re.compile(
        rf"{_WHO} gets instead of #(?P<id>\w+) from (?P<whom>[a-z]+): (?P<text>.*)"
    ),
    "loses": re.compile(rf"{_WHO} loses #(?P<id>\w+) from (?P<whom>[a-z]+): (?P<text>.*)"),
    "contact": re.compile(rf"{_WHO} (?P<what>adds|removes) (?P<whom>[a-z]+)"),
    "gets": re.compile(rf"{_WHO} gets from (?P<whom>[a-z]+): (?P<text>.*)"),
    "told": re.compile(rf"{_WHO} is told: (?P<text>.*)"),
    "was_told": re.compile(rf"{_WHO} was told: (?P<text>.*)"),
    "presence": re.compile(rf"{_WHO} (?P<what>leaves|comes)"),
    "asks": re.compile(rf"{_WHO} asks to add (?P<whom>[a-z]+)"),
    "operator": re.compile(r"the operator (?P<what>blocks|unblocks) (?P<text>.*)"),
    "time": re.compile(r"(?P<count>\d+) (?P<unit>second|minute|hour|day)s? pass(?:es)?"),
    "restart": re.compile(r"the relay restarts"),
}

_LIVES: Final = re.compile(rf"{_WHO} lives elsewhere")
_RULE: Final = re.compile(r"\bS\d+(?:\.\d+)?\b")


@dataclass(frozen=True, slots=True)
class Story:
    """One file."""

    name: str  # folder and file: following/two_doors
    rules: Sequence[str]  # which it cites: S2.1
    steps: Sequence[tuple[int, str]]  # (number of the line in the file, the line)
    people: Sequence[str]  # everybody in it
    elsewhere: frozenset[str]  # who lives on the second server

    @classmethod
    def read(cls, file: Path) -> Self:
        head, _, rest = file.read_text(encoding="utf-8").partition("\n\n")
        lines = list(enumerate(rest.split("\n"), head.count("\n") + 3))
        return cls(
            f"{file.parent.name}/{file.stem}",
            _RULE.findall(head),
            [(n, line) for n, line in lines if line.strip() and not _LIVES.fullmatch(line)],
            list(dict.fromkeys(who for _, line in lines if (who := _doer(line)) is not None)),
            frozenset(found["who"] for _, line in lines if (found := _LIVES.fullmatch(line))),
        )


def _doer(line: str) -> str | None:
    """Who it is that does something in a step."""
    for pattern in (_LIVES, *STEPS.values()):
        found = pattern.fullmatch(line)
        if found is not None:
            return found.groupdict().get("who")
    return None


STORIES: Final = [Story.read(file) for file in sorted(Path(__file__).parent.glob("*/*.txt"))]

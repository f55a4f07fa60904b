"""The audience function: who gets a post, and why or why not.

One decision for every outlet: the live fan-out, the return of somebody who was away, and whatever
else shows posts to people ask here, at the moment of sending or serving. It is a plain function
over the graph: no I/O, no clock, no memory.

The rules, first match decides:

    S1.7   the author is never sent his own post            no
    S2.2   he follows the author since before the post      yes
    S5     he follows, but only later posts count           no
    S2.2   he does not follow                               no
"""

from dataclasses import dataclass

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Post


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, with the number of the rule and its reason as one clause for people."""

    yes: bool
    rule: str
    reason: str


OWN_POST = Decision(False, "S1.7", "it is your own post")
FOLLOWS = Decision(True, "S2.2", "you follow the author")
FOLLOWED_LATER = Decision(False, "S5.1", "you followed the author after this post")
NO_FOLLOWER = Decision(False, "S2.2", "you do not follow the author")


def decide(graph: Graph, post: Post, person: int) -> Decision:
    """Whether a person gets a post, with the rule that decides (S2, S1.7)."""
    if person == post.author:
        return OWN_POST
    since = graph.follows_since(person, post.author)
    if since is None:
        return NO_FOLLOWER
    if since > post.number:
        return FOLLOWED_LATER
    return FOLLOWS

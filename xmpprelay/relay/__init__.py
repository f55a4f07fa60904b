"""What people write: who may, to whom, how long, how often; then the journal.

One way in for every door; nothing here knows XMPP. What comes out is an entry of the journal with
what its author is told, or one sentence that says why not; there is nothing in between.

- `posts.py`: posts, replies and mentions; what text typed in one person's window is.
- `letters.py`: direct messages.
- `changes.py`: boosts, edits, deletions.
- `publishing.py`: posts that are published as items of nodes.
- `likes.py`: likes, and the line that collects them.
- `sight.py`: which posts somebody may refer to at all, and what he was sent.
- `taking.py`: the last step of each, into the journal; the rate.
"""

from xmpprelay.relay.posts import Relay
from xmpprelay.relay.taking import Accepted, PostLimits

__all__ = ["Accepted", "PostLimits", "Relay"]

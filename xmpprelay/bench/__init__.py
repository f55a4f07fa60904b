"""A benchmark against a server that runs: the relay beside the server's own pubsub.

- `tally.py`: which follower has had which post, and how often; what was lost or came twice.
- `dialogues.py`: what a client says to log in and to be made a follower, and what it waits for.
- `advice.py`: from what went wrong to the setting that is in the way.
- `crowd.py`, `followers.py`: the process of the followers, and whoever drives it; `author.py`: the
  one who posts.
- `ways.py`: how a text comes to all followers; `measuring.py`: rounds of these in turn.
- `telling.py`: tables and JSON; `usage.py`: what a process has used; `encryption.py`: TLS.
- `accounts.py`, `operating.py`: with which accounts, and whether that may be done on this server.

The first three and `telling.py` decide, and touch nothing outside.
"""

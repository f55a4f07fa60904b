"""The door to XMPP: the component's stream, what comes in by it, what goes out by it.

- `component.py`: the stream itself: connection, guard against hostile stanzas, one choke point for
  all that leaves, requests and their answers.
- `stanzas.py`: reading and building stanzas as XML elements.
- `messages.py`, `presences.py`: what comes in and changes something.
- `disco.py`, `registration.py`, `profiles.py`: questions that are answered (XEP-0030, 0077, 0054).
- `outbox.py`, `rendering.py`: the shell of `core/delivery.py`, and a post as bytes for followers.

slixmpp is used nowhere else in the relay. It gives the stream, the parser, the preparation of JIDs
and the classes that payloads are built with; its rosters, its stanza handlers and its send queue
are left out (docs/decisions.md says why).
"""

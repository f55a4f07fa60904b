"""The pubsub service: every author a microblog, at his own address (XEP-0060, 0277, 0472).

- `names.py`: namespaces, features, errors; `requests.py`: one question, as its parts get it.
- `nodes.py`: which nodes there are, and for whom; `forms.py`: what they are like.
- `entries.py`: posts as the payload of items; `room.py`: how many an answer has room for.
- `reading.py`, `publishing.py`, `following.py`, `owning.py`: the use cases of XEP-0060.
- `service.py`: the door: it finds who does what is asked for, and answers.

Nothing here decides who may see a post (core/routing.py), or what becomes of one (relay/). Events
go out by the fan-out, as `xmpp/rendering.py` writes them.
"""

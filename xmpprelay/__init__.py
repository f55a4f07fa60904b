"""xmpprelay: a microblog that stays up when the service behind it goes down.

An XMPP server component (XEP-0114). Posts arrive as chat messages, are made safe in the relay's own
journal, and go live from there to the followers. `docs/flow.md` tells the way of one post.
"""

__version__ = "0.1.0"

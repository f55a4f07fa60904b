"""A small primary service to try the relay on: `python -m xmpprelay.quickstart.demo_primary`.

It has that part of Mastodon's API which the relay uses, and does in it what Mastodon does: keys
hold for an hour, ids are of their time, unknown parents and too long texts are refused, and so is a
text that names accounts which were not meant. So it says that it is Mastodon, and of what version.
What it lacks is everything else: other servers, boosts, limits of pace.

It knows nothing of the relay, and is a process of its own.

- `app.py`: the server, and what it says about itself.
- `login.py`: how programs are let in.
- `statuses.py`: the rest of the API.
- `asked.py`, `answered.py`: what requests and answers have in common.
- `pages.py`: what people see. `store.py`: what is kept.
"""

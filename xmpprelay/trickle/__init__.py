"""The trickle: threads what is in the journal into the primary service, gently, once, in order.

A telecom switch completes calls while the billing database is away, and inserts the records later.
So here: posts go to the followers at once, and to the primary when it can take them. While it is
away the queue grows in the database, and nobody waits for it.

**Whose turn.** Each account has a queue of its own, in the order of its posts, and one request at a
time. Round robin over the accounts, and turn by turn those whose oldest post is young and those
who have waited: after an outage nobody who posts now waits behind ten thousand posts of others. An
account that cannot go on (it is not known what became of its last post; its credentials do not
hold; its author is asked) holds up no other.

**How fast.** As many requests at once as the health of the primary allows, from one to eight, and
one at first when it comes back (`core/health.py`); never above its own limits, nor the operator's.

**Once.** A row is SENDING on the disk before the first byte leaves. Whatever then becomes of it is
one of six results; where it is not certain, it is looked, after the settle time, before anything is
sent again (`core/insertion.py`). A kill at any moment leaves rows that are SENDING, and these are
looked for at the next start.

**What is not here.** What a post becomes at the primary is in `core/status.py`, how a primary is
spoken to in `primary/`, what is stored in `store/insertion.py`.

- `engine.py`: the turns.
- `preparing.py`: what a turn does about a row, and the status that is sent.
- `standby.py`: when a primary is away, and who is told.
- `accounts.py`: in whose name posts are inserted.
- `wishes.py`, `orders.py`: what people and the operator do with the queue.
- `fetching.py`: attachments, from addresses that anybody may have typed.
"""

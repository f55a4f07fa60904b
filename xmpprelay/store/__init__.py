"""The database: what survives a crash of the relay, of the system, or of the power.

- `database.py`: opens a database, reads from it, writes to it, closes it.
- `writer.py`: the one writer, with group commit. Everything that changes goes through it.
- `operations.py`, `bulk.py`, `dedupe.py`: what can be changed, as named operations.
- `queries.py`, `queue.py`: what can be asked, as plain functions over a connection.
- `journal_files.py`: posts out of this journal and into another one.
- `upkeep.py`, `identity.py`: backup, restore, migrate; which database this is.
- `schema.py`, `rows.py`, `migrations/`: the tables, and their rows as objects of `core/model.py`.
- `engine.py`, `dialect.py`, `files.py`: SQLite's connections, words and files.

This room knows nothing of XMPP and decides nothing about who gets what. SQLAlchemy Core on
aiosqlite is the only way to the database here, and there is no second implementation for tests.
"""

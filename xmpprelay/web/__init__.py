"""Feeds and pages: what a browser, a feed reader or a monitor asks for, and nobody can change.

`server.py` listens and guards, `connection.py` has the limits of one connection, `answers.py` the
headers of all answers and the words of errors. Every other file has one kind of page, in a class
with `routes()`, whose handlers are given a request and give a response; for an error they raise
`web.HTTPNotFound(text="a sentence")` or the like.

Nothing in this room knows XML of XMPP, and nothing in it is needed for a post to arrive: what goes
wrong here is logged, counted, and answered with a page that says so.
"""

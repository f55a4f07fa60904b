"""A feed-to-posts bot: posts what is new in an RSS or Atom feed, each of its entries once.

    XMPP_PASSWORD=… python feed_bot.py newsbot@example.org newsbot@relay.example.org \\
        https://example.org/feed.xml newsbot.json

It asks for the feed every 15 minutes, or every FEED_EVERY_S seconds, and only for what has changed
since the last time. Of a feed that it has never seen it posts the newest five entries. What it has
posted is kept in the file; should that be lost, nothing is posted twice all the same, since each
item has an id that comes of its entry's own, and an item that is published again is no second post.

It says that it is a bot: so nobody gets more than some posts an hour of it, and the rest in a
digest. What goes wrong with the feed is told on standard error, and it goes on.

It needs slixmpp and feedparser. For the server of `xmpprelay quickstart`, which has no TLS, add
that server's port.
"""

import asyncio
import hashlib
import http.client
import io
import json
import os
import re
import sys
import urllib.error
import urllib.request
from html import escape
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import feedparser
from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.stanza import Error

Error.conditions.add("policy-violation")  # too long, too fast: slixmpp 1.17 does not know it

EVERY_S = float(os.environ.get("FEED_EVERY_S", "900"))
AT_FIRST = 5
MOST_BYTES = 5_000_000
MOST_KEPT = 2_000  # names of entries that were posted

NOT_THERE = {"remote-server-not-found", "remote-server-timeout", "service-unavailable"}
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

ATOM = "{http://www.w3.org/2005/Atom}"
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


class Feed:
    """What is new in a feed, and the file that says what is not."""

    def __init__(self, url, file):
        self.url, self.file = url, Path(file)
        self.state = json.loads(self.file.read_text()) if self.file.exists() else {}

    def fetch(self):
        """The new entries with their items' ids, oldest first, and what to ask for next time."""
        headers = {"User-Agent": "feed_bot (xmpprelay)", **self.state.get("asking", {})}
        request = urllib.request.Request(self.url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                data, got = answer.read(MOST_BYTES), answer.headers
        except urllib.error.HTTPError as error:
            if error.code == 304:  # nothing has changed
                return [], self.state.get("asking", {})
            raise
        marks = {"If-None-Match": got["ETag"], "If-Modified-Since": got["Last-Modified"]}
        about = {name.lower(): value for name, value in got.items()}
        feed = feedparser.parse(io.BytesIO(data), response_headers=about)
        if feed.bozo and not feed.entries:
            raise ValueError(f"this is no feed: {feed.bozo_exception}")
        found = [(self.id_of(entry), post_of(entry, feed)) for entry in reversed(feed.entries)]
        if "posted" not in self.state:
            self.keep(posted=[item for item, _ in found[:-AT_FIRST]])
        fresh = [each for each in found if each[0] not in self.state["posted"]]
        return fresh, {name: value for name, value in marks.items() if value}

    def id_of(self, entry):
        name = entry.get("id") or entry.get("link") or entry.get("title", "")
        return hashlib.sha256(f"{self.url} {name}".encode()).hexdigest()[:32]

    def keep(self, **what):
        """In one step, so that a crash leaves a whole file."""
        self.state |= what
        draft = self.file.with_suffix(".new")
        draft.write_text(json.dumps(self.state))
        draft.replace(self.file)

    def keep_posted(self, item):
        self.keep(posted=[*self.state["posted"], item][-MOST_KEPT:])


def post_of(entry, feed):
    """An entry of the feed as the entry of a post: its title, its address and its tags."""
    kind = "html" if "html" in entry.get("title_detail", {}).get("type", "") else "text"
    words, link = entry.get("title", "")[:1000], entry.get("link", "")
    post = Element(f"{ATOM}entry", {LANGUAGE: shown(feed.feed.get("language", ""))})
    SubElement(post, f"{ATOM}id").text = shown(entry.get("id", ""))
    SubElement(post, f"{ATOM}title").text = shown(words[:80])
    content = SubElement(post, f"{ATOM}content", type=kind)
    content.text = shown(f"{words}<br>{escape(link)}" if kind == "html" else f"{words}\n{link}")
    for tag in entry.get("tags", [])[:3]:
        SubElement(post, f"{ATOM}category", term=shown(tag.get("term") or ""))
    return post


def shown(text):
    """A text without what XML forbids: it would end the connection."""
    return NOT_XML.sub("", text)


async def answer(ask, *given, **named):
    """Asks until there is an answer; IqError if it is no, and not only for now."""
    while True:
        try:
            return await ask(*given, **named)
        except IqTimeout:
            continue  # whether it has arrived or not: the same question again does no harm
        except IqError as error:
            if error.etype != "wait" and error.condition not in NOT_THERE:
                raise
        await asyncio.sleep(2)


async def command(bot, relay, name, **values):
    """Lets the relay do one of its commands (XEP-0050)."""
    form = bot.plugin["xep_0004"].make_form(ftype="submit")
    for field, value in values.items():
        form.add_field(field, value=value)
    send = bot.plugin["xep_0050"].send_command
    try:
        done = await answer(send, relay, name, action="complete", payload=form)
    except IqError as error:
        sys.exit(error.text or error.condition)
    for kind, words in done["command"]["notes"]:
        if kind == "error":
            sys.exit(words)


async def main(jid, author, url, file, port=None):
    plain = {"feature_mechanisms": {"unencrypted_scram": bool(port)}}
    bot = ClientXMPP(jid, os.environ["XMPP_PASSWORD"], plugin_config=plain)
    bot.enable_plaintext, bot.enable_starttls = bool(port), not port
    bot.register_plugin("xep_0050")  # commands
    bot.register_plugin("xep_0060")  # pubsub

    def connect(_=None):
        bot.connect(*(("127.0.0.1", port) if port else ()))

    there, refused = asyncio.Future(), SystemExit("the password is refused")
    bot.add_event_handler("session_start", lambda _: there.done() or there.set_result(True))
    bot.add_event_handler("failed_all_auth", lambda _: there.set_exception(refused))
    bot.add_event_handler("disconnected", connect)
    connect()
    await there
    handle, _, relay = author.partition("@")
    await command(bot, relay, "join", handle=handle)
    await command(bot, relay, "profile", field="bot", setting="on")

    publish, node, feed = bot.plugin["xep_0060"].publish, "urn:xmpp:microblog:0", Feed(url, file)
    while True:
        try:
            fresh, asking = await asyncio.to_thread(feed.fetch)
            for item, post in fresh:
                try:
                    await answer(publish, author, node, id=item, payload=post)
                except IqError as error:  # this one is not taken, now and later
                    print(f"{url}: {error.text or error.condition}", file=sys.stderr, flush=True)
                feed.keep_posted(item)
            feed.keep(asking=asking)  # only now: what was not posted is to come again
        except (OSError, ValueError, http.client.HTTPException) as error:
            print(f"{url}: {error}", file=sys.stderr, flush=True)
        await asyncio.sleep(EVERY_S)


asyncio.run(main(*sys.argv[1:]))

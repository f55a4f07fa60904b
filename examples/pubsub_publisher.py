"""A publisher: takes a handle on a relay, and publishes its standard input as one post (XEP-0277).

    XMPP_PASSWORD=… python pubsub_publisher.py newsbot@example.org newsbot@relay.example.org <text

It prints the id of the item; the result that it has waited for means that the post is on the
relay's disk. Without a result it publishes the same item again: one post results, however often it
was published. With the id of an earlier item as the third argument it edits that post.

It needs slixmpp. For the server of `xmpprelay quickstart`, which has no TLS, add that server's port
as the fourth argument; the third may be empty.
"""

import asyncio
import os
import sys
import uuid
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement

from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.stanza import Error

Error.conditions.add("policy-violation")  # too long, too fast: slixmpp 1.17 does not know it


async def answer(ask, *given, **named):
    while True:
        try:
            return await ask(*given, **named)
        except IqTimeout:
            continue  # whether it has arrived or not: the same question again does no harm
        except IqError as error:
            if error.etype != "wait":  # else too fast, or the relay is not there
                sys.exit(error.text or error.condition)
        await asyncio.sleep(2)


async def main(jid, author, item="", port=None):
    plain = {"feature_mechanisms": {"unencrypted_scram": bool(port)}}
    bot = ClientXMPP(jid, os.environ["XMPP_PASSWORD"], plugin_config=plain)
    bot.enable_plaintext, bot.enable_starttls = bool(port), not port
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
    join = Element("{jabber:iq:register}query")
    SubElement(join, "{jabber:iq:register}username").text = handle
    await answer(bot.make_iq_set(join, ito=relay).send)

    text, now = sys.stdin.read().strip(), datetime.now(UTC).isoformat(timespec="seconds")
    item, title = item or str(uuid.uuid4()), text.partition("\n")[0]
    entry = Element("{http://www.w3.org/2005/Atom}entry")
    for name, said in (("id", item), ("title", title), ("updated", now), ("content", text)):
        SubElement(entry, f"{{http://www.w3.org/2005/Atom}}{name}").text = said
    publish, node = bot.plugin["xep_0060"].publish, "urn:xmpp:microblog:0"
    result = await answer(publish, author, node, id=item, payload=entry)
    print(result["pubsub"]["publish"]["item"]["id"])
    bot.del_event_handler("disconnected", connect)
    await bot.disconnect()


asyncio.run(main(*sys.argv[1:]))

"""A bot: takes a handle on a relay, and posts each line of its standard input.

    XMPP_PASSWORD=… python bot.py newsbot@example.org home@relay.example.org newsbot <lines

Each post has an origin-id, and its receipt means that it is on the relay's disk. Without a receipt
the bot sends the same again: one post results, however often it was sent.

It needs slixmpp. For the server of `xmpprelay quickstart`, which has no TLS, add its port.
"""

import asyncio
import os
import sys
from contextlib import suppress

from slixmpp import ClientXMPP


async def main(jid, home, handle, port=None):
    plain = {"feature_mechanisms": {"unencrypted_scram": bool(port)}}
    bot = ClientXMPP(jid, os.environ["XMPP_PASSWORD"], plugin_config=plain)
    bot.enable_plaintext, bot.enable_starttls = bool(port), not port
    bot.register_plugin("xep_0184")  # receipts
    bot.register_plugin("xep_0359")  # origin-ids

    def connect(_=None):
        bot.connect(*(("127.0.0.1", port) if port else ()))

    answers, refused = asyncio.Queue(), {"type": "auth", "text": "the password is refused"}
    bot.add_event_handler("receipt_received", lambda m: answers.put_nowait((m["receipt"], None)))
    bot.add_event_handler("message_error", lambda m: answers.put_nowait((m["id"], m["error"])))
    bot.add_event_handler("failed_all_auth", lambda _: answers.put_nowait((None, refused)))
    bot.add_event_handler("session_start", lambda _: bot.send_presence())
    bot.add_event_handler("disconnected", connect)
    connect()
    line = f":join {handle}"  # with a colon it is a command, and never a post
    while line:
        message = bot.make_message(home, line.strip(), mtype="chat")
        message["id"] = message["origin_id"]["id"] = bot.new_id()
        message["request_receipt"] = True
        answered = None if line.strip() else message["id"]
        while answered != message["id"]:
            message.send()
            with suppress(TimeoutError):
                answered, error = await asyncio.wait_for(answers.get(), 30)
                if error and error["type"] == "wait":  # too fast, or the relay is not there
                    answered = await asyncio.sleep(2)
                elif error:
                    sys.exit(f"{line.strip()}: {error['text'] or error['condition']}")
        line = await asyncio.to_thread(sys.stdin.readline)
    bot.del_event_handler("disconnected", connect)
    await bot.disconnect()


asyncio.run(main(*sys.argv[1:]))

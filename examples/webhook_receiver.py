"""A receiver for the relay's webhooks: keeps posts in an SQLite file, each exactly once.

    WEBHOOK_SECRET=whsec_… python webhook_receiver.py posts.db 8300

The relay is given `url = "http://localhost:8300/posts"` and the same secret. Python alone is
needed. A public receiver belongs behind a web server that speaks HTTPS.

A request may come twice, since an answer can be lost. So the id of each is kept, in one transaction
with what it does, and whoever comes again is told that all is well.
"""

import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
TOLERANCE_S = 300  # how far the two clocks may differ, and how old a request may be

db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA synchronous = FULL")
db.execute("CREATE TABLE IF NOT EXISTS event (id TEXT PRIMARY KEY)")
db.execute("CREATE TABLE IF NOT EXISTS post (id TEXT PRIMARY KEY, text TEXT, data TEXT)")


def take(event, event_id):
    """One transaction, on the disk before it is answered."""
    post = event["data"]
    text = None if event["type"] == "post.deleted" else post["text"]
    with db:
        if db.execute("INSERT OR IGNORE INTO event VALUES (?)", (event_id,)).rowcount:
            db.execute(
                "INSERT INTO post VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET text = excluded.text, data = excluded.data",
                (post["id"], text, json.dumps(post)),
            )


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = self.is_signed(body)
        if signed:
            event = json.loads(body)
            if event["type"].startswith("post."):  # a ping, and what may come later, does nothing
                take(event, self.headers["webhook-id"])
        self.answer(200 if signed else 401)

    def do_GET(self):
        """The relay asks for /posts/ID when it did not hear whether a post has arrived."""
        post = self.path.rpartition("/")[2]
        known = db.execute("SELECT 1 FROM post WHERE id = ?", (post,)).fetchone()
        signed = self.is_signed(b"")
        self.answer(401 if not signed else 200 if known else 404)

    def is_signed(self, body):
        event, sent = self.headers["webhook-id"] or "", self.headers["webhook-timestamp"] or "0"
        if not sent.isdecimal() or abs(time.time() - int(sent)) > TOLERANCE_S:
            return False
        signed = b".".join((event.encode(), sent.encode(), body))
        right = b"v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest())
        given = (self.headers["webhook-signature"] or "").encode().split()
        return any(hmac.compare_digest(right, each) for each in given)  # two, while secrets change

    def answer(self, status):
        self.send_response(status)
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver).serve_forever()

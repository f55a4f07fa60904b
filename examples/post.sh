#!/bin/sh
# Posts what it reads on standard input, as one post, by the command-line client sendxmpp:
#
#     uptime | examples/post.sh home@relay.example.org
#
# sendxmpp (Debian: apt-get install sendxmpp) takes the account from ~/.sendxmpprc, or the file that
# $SENDXMPPRC names; only you may be able to read it (chmod 600):
#
#     username: alice
#     password: her password
#     component: example.org
#     jserver: xmpp.example.org
#     port: 5222
#     tls: 1
#
# `component` is the domain of the address alice@example.org, `jserver` the host to connect to. For
# the server of `xmpprelay quickstart`: jserver 127.0.0.1, its port, and no `tls`.
#
# What it cannot do: it logs out at once, without a receipt or an error, and its exit code says no
# more than that its server took the message; nothing is sent again. The answer ("ok #k3f: …") waits
# for alice's next log-in, as every chat message does. bot.py knows what became of its posts.
# The account must have joined before: echo 'join alice' | examples/post.sh home@relay.example.org
set -eu
: "${1:?say where to: home@relay.example.org}"
# Without the path of the authorities sendxmpp 1.24 trusts none, and no TLS connection succeeds.
exec sendxmpp --file "${SENDXMPPRC:-$HOME/.sendxmpprc}" --tls-ca-path /etc/ssl/certs "$1"

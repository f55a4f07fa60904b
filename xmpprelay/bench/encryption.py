"""TLS as the clients of a benchmark have it."""

import ssl

from xmpprelay.bench.dialogues import Tls, Where
from xmpprelay.errors import XmppRelayError


def context_for(where: Where) -> ssl.SSLContext | None:
    """What the connections there are encrypted with; None: nothing.

    XmppRelayError where the file of authorities is of no use.
    """
    if where.tls is Tls.NONE:
        return None
    try:
        context = ssl.create_default_context(cafile=where.ca_file)
    except (ssl.SSLError, ValueError):
        raise XmppRelayError(
            f"{where.ca_file} has no certificates of an authority in it: name a file in PEM."
        ) from None
    if where.tls is Tls.UNCHECKED:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

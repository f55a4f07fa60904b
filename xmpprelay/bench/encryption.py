"""TLS as the clients of a benchmark have it, and why a connection fails."""

import os
import ssl
from pathlib import Path

from xmpprelay.bench.dialogues import Tls, Where
from xmpprelay.errors import XmppRelayError


def context_for(where: Where) -> ssl.SSLContext | None:
    """What the connections there are encrypted with; None: nothing.

    XmppRelayError where the file of authorities is of no use.
    """
    if where.tls is Tls.NONE:
        return None
    file = where.ca_file
    if file is not None:
        Path(file).open("rb").close()  # an error of the system has its name here
    try:
        context = ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise XmppRelayError(
            f"{file} has no certificates of an authority in it: name a file in PEM."
        ) from None
    if where.tls is Tls.UNCHECKED:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def reason(error: OSError) -> str:
    """Why a connection fails, in the system's words."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS failed"
    if isinstance(error, TimeoutError) or not error.errno or error.errno < 0:
        return error.strerror or "no answer"  # of a name that is not known, that is its words
    return os.strerror(error.errno)

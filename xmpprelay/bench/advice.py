"""From what went wrong at a server to a sentence that names the setting that is in the way."""

from typing import Final

from xmpprelay.bench.dialogues import Trouble, condition

PROSODY: Final = "Prosody"
EJABBERD: Final = "ejabberd"

_SETTINGS: Final = {
    PROSODY: {
        Trouble.NO_TLS: "load its module `tls`, and see that it finds a certificate for the domain",
        Trouble.NO_PLAIN: "take PLAIN out of `disable_sasl_mechanisms`, and look at "
        "`authentication`",
        Trouble.NO_PLAIN_IN_THE_CLEAR: "leave --tls none out, or set `c2s_require_encryption = "
        "false` and `allow_unencrypted_plain_auth = true`",
        # Without a file left it cannot read an account, and takes the password for a wrong one.
        Trouble.PASSWORD: "is the password right (`prosodyctl passwd JID`)? Where others could log "
        "in before, raise its `ulimit -n` (LimitNOFILE= of its unit)",
        Trouble.NO_SESSION: "look at its log, and at the modules that restrict logins",
        Trouble.CLOSED: "raise its `ulimit -n` (LimitNOFILE= of its unit), and `limits = { c2s = … "
        "}` where mod_limits is on",
        Trouble.NO_REGISTRATION: "set `allow_registration = true`, load `register_ibr`, and leave "
        "`registration_throttle_max` and `min_seconds_between_registrations` out, while it is "
        "measured",
    },
    EJABBERD: {
        Trouble.NO_TLS: "set `starttls: true` for the listener of `ejabberd_c2s`, and `certfiles`",
        Trouble.NO_PLAIN: "take PLAIN out of `disable_sasl_mechanisms`, and look at `auth_method`",
        Trouble.NO_PLAIN_IN_THE_CLEAR: "leave --tls none out, or set `starttls_required: false` "
        "for the listener of `ejabberd_c2s`, and take PLAIN out of `disable_sasl_mechanisms`",
        Trouble.PASSWORD: "is the password right (`ejabberdctl change_password`)? If it is, look "
        "at `auth_method`",
        Trouble.NO_SESSION: "look at `c2s` of `access_rules`, which the listener's `access` names",
        Trouble.CLOSED: "raise its `ulimit -n` and ERL_MAX_PORTS, and `backlog` and `shaper` of "
        "the listener of `ejabberd_c2s`",
        Trouble.NO_REGISTRATION: "load `mod_register` with `ip_access: all` and `access: all`, and "
        "set `registration_timeout: infinity`, while it is measured",
    },
}

_MISSING: Final = {
    Trouble.NO_TLS: "it offers no STARTTLS",
    Trouble.NO_PLAIN: "it does not offer SASL PLAIN",
    Trouble.NO_PLAIN_IN_THE_CLEAR: "it does not offer SASL PLAIN without TLS",
}

_SHAPERS: Final = {
    PROSODY: "take `c2s` out of the `limits` of mod_limits",
    EJABBERD: "give {who} `none` in `c2s_shaper` of `shaper_rules`",
}


def slowed(server: str | None, who: str, bytes_per_s: float) -> str:
    """That a limit of the server's is what is measured, and which."""
    settings = ", or ".join(
        f"{advice} ({kind})" if server is None else advice
        for kind, advice in _SHAPERS.items()
        if server in (None, kind)
    ).format(who=who)
    return (
        f"{server or 'The server'} takes {bytes_per_s / 1000:.0f} kB a second of {who}, and that "
        f"is what will be measured: {settings}, while it is."
    )


def sentence(server: str | None, who: str, trouble: Trouble, said: str) -> str:
    """What went wrong for somebody, and what to do; `server`: its kind, None if it is not known."""
    name = server or "The server"
    words = condition(said)
    if trouble is Trouble.UNREACHABLE:
        return f"No XMPP server listens for clients at {said}: start it, or correct --server."
    if trouble is Trouble.CERTIFICATE:
        return (
            f"The server's certificate is not trusted ({said}): give it one for the domain of its "
            "accounts, or name its authority with --ca-file."
        )
    settings = [
        f"{kind}: {advice[trouble]}" if server is None else advice[trouble]
        for kind, advice in _SETTINGS.items()
        if trouble in advice and server in (None, kind)
    ]
    if not settings:
        return f"{name} does not let {who} go on: {words}."
    does = "register" if trouble is Trouble.NO_REGISTRATION else "log in"
    return f"{name} does not let {who} {does} ({_MISSING.get(trouble, words)}): " + (
        f"{'. '.join(settings)}."
    )

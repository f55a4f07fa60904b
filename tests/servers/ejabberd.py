"""A private ejabberd on the loopback, for the tests: the same for a test as `Prosody`.

How it runs, beyond what every `PrivateServer` does. Not by `ejabberdctl`, which wants its own user,
a node name, and epmd on a fixed port: the Erlang machine is started directly, without distribution,
as whoever runs the tests. The helper programs it has end by themselves when it does.

How it is spoken to. It has no HTTP and no port for it, but a door: a Unix socket in its folder,
which nobody else can enter, that evaluates Erlang (`ask`). Accounts are made by it, and only by it
can they be made to last: Mnesia keeps what it is given in memory for seconds, so that a kill right
after an account, a contact or an offline message was taken loses it. `add_user` waits until the
account is on disk; for everything else a test that kills the server calls `flush` first.

It is ready when its ports answer as every server's do, and the door is open.

Modules and limits are those of Debian's configuration where a test could tell the difference: 100
offline messages and 10 sessions a person. There are no shapers.
"""

import asyncio
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmpprelay.errors import StreamError
from xmpprelay.quickstart.private_server import PrivateServer

MODULES: Mapping[str, Mapping[str, Any]] = {
    "mod_blocking": {},
    "mod_caps": {},
    "mod_carboncopy": {},
    "mod_disco": {},
    "mod_last": {},
    "mod_muc": {},  # without it mod_caps fails at presence from an address without a resource
    "mod_offline": {},
    "mod_ping": {},
    "mod_privacy": {},
    "mod_pubsub": {"plugins": ["flat", "pep"]},
    "mod_roster": {"versioning": True},
    "mod_stream_mgmt": {"resend_on_timeout": "if_offline"},
    "mod_vcard": {"search": False},
    "mod_version": {},
}
MAM: Mapping[str, Mapping[str, Any]] = {"mod_mam": {"default": "always", "assume_mam_usage": True}}
MULTICAST: Mapping[str, Mapping[str, Any]] = {"mod_multicast": {"host": "multicast.@HOST@"}}

# Evaluates what a visitor sends, and answers with `+` and the value, or `-` and what went wrong.
# Each message has its length before it. One visitor after the other, so that nothing is done twice
# at a time; the backlog lets many wait.
DOOR = """
spawn(fun() ->
    {ok, Door} = gen_tcp:listen(0,
        [{ifaddr, {local, "door"}}, {backlog, 1024}, binary, {packet, 4}, {active, false}]),
    Answer = fun(Text) ->
        try
            {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text)),
            {ok, Expressions} = erl_parse:parse_exprs(Tokens),
            {value, Value, _} = erl_eval:exprs(Expressions, erl_eval:new_bindings()),
            io_lib:format("+~0tp", [Value])
        catch _:Reason -> io_lib:format("-~0tp", [Reason]) end end,
    Serve = fun Again() ->
        {ok, Visitor} = gen_tcp:accept(Door),
        case gen_tcp:recv(Visitor, 0, 5000) of
            {ok, Text} -> gen_tcp:send(Visitor, unicode:characters_to_binary(Answer(Text)));
            _ -> gone end,
        gen_tcp:close(Visitor),
        Again() end,
    Serve() end).
"""

# Rosters, offline messages, vCards and accounts are dets tables: each has a cache of its own behind
# the log, and the log is thrown away when it was copied there.
FLUSH = """
mnesia:sync_log(),
[ok = dets:sync(Table) || Table <- mnesia:system_info(local_tables),
    mnesia:table_info(Table, storage_type) =:= disc_only_copies],
ok.
"""


@dataclass(frozen=True, slots=True)
class S2s:
    """What a private server needs to talk to other servers."""

    port: int  # where it listens for them
    certificate: Path  # its key and its certificate, PEM
    authority: Path  # the certificate of the only authority that it trusts, PEM
    dns_port: int  # of the only name server that it asks, on the loopback


class Ejabberd(PrivateServer):
    """A private ejabberd with one domain for people and one component beside it.

    Beyond what every `PrivateServer` has: `components` are more components of the same port, each
    with its secret. `mam` turns on message archives, in Mnesia, `multicast` stanzas with many
    addresses (XEP-0033). `extra_config` has further top-level options of ejabberd.yml; of an option
    that is a mapping, such as `modules`, it says only what is added or put in its place. With `s2s`
    it is federated; otherwise nothing leaves the machine, and only 127.0.0.1 is listened on.

    What it was given in the last seconds before a `kill` may be lost (see `flush`).
    """

    name = "ejabberd"
    ready_within_s = 30.0  # it takes 1.5 s; a machine busy with tests needs several
    stop_within_s = 10.0  # it takes 1 s
    # On its standard output is the log too, and what comes of it before it has a log.
    logs = ("console.log",)

    def __init__(
        self,
        domain: str = "example.test",
        *,
        component_domain: str | None = None,
        components: Mapping[str, str] | None = None,
        mam: bool = False,
        multicast: bool = False,
        extra_config: Mapping[str, Any] | None = None,
        s2s: S2s | None = None,
    ) -> None:
        super().__init__(domain, component_domain)
        self.multicast = multicast
        self._components = {self.component_domain: self.component_secret, **(components or {})}
        self._modules = {**MODULES, **(MAM if mam else {}), **(MULTICAST if multicast else {})}
        self._extra_config = extra_config or {}
        self._s2s = s2s

    async def add_user(self, name: str, password: str) -> str:
        """Makes an account that outlives a kill, or gives an existing one this password. Returns
        its bare JID.

        StreamError if it does not run, or with ejabberd's own words if it refuses the name.
        """
        who = f"{_erlang(name)}, {_erlang(self.domain)}, {_erlang(password)}"
        answer = await self.ask(
            f"Made = case ejabberd_auth:try_register({who}) of"
            f" {{error, exists}} -> ejabberd_auth:set_password({who}); Other -> Other end,"
            " ok = mnesia:sync_log(), ok = dets:sync(passwd), Made."
        )
        if answer != "ok":
            raise StreamError(
                f"ejabberd made no account {name}@{self.domain}; it says: {answer.strip()}"
            )
        return f"{name}@{self.domain}"

    async def flush(self) -> None:
        """Puts all that it has been given on disk; a kill after that does not lose it."""
        await self.ask(FLUSH)

    async def ask(self, expressions: str) -> str:
        """Evaluates Erlang inside it, such as `mnesia:table_info(offline_msg, size).`, and gives
        the value as Erlang writes it.

        StreamError if it does not run, is paused, or fails at it.
        """
        text = expressions.encode()
        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_unix_connection(self.folder / "door")
                try:
                    writer.write(len(text).to_bytes(4, "big") + text)
                    size = int.from_bytes(await reader.readexactly(4), "big")
                    answer = (await reader.readexactly(size)).decode()
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise StreamError(
                "The private ejabberd does not answer at its door: start it, or resume it."
            ) from error
        if not answer.startswith("+"):
            raise StreamError(f"ejabberd could not evaluate {expressions!r}: {answer[1:]}")
        return answer[1:]

    def _command(self) -> Sequence[str]:
        _libraries()  # or StreamError: it may not be on this machine
        # The folder is the working directory, so that no path needs quoting for Erlang.
        return ("erl", "-noinput", "-mnesia", "dir", '"data"', "-s", "ejabberd", "-eval", DOOR)

    def _options(self) -> Mapping[str, Any]:
        environment = {
            # Nothing else: ERL_FLAGS and the like of whoever runs the tests are for his own VMs.
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ERL_LIBS": _libraries(),
            "ERL_INETRC": str(self.folder / "inetrc"),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
        }
        return {"env": environment}

    def _ports(self) -> Sequence[int]:
        return [listener["port"] for listener in self._listeners()]

    async def _answers(self) -> bool:
        return (self.folder / "door").exists() and await super()._answers()

    def _write_config(self) -> None:
        """Writes what it reads at its start: its configuration, and how it resolves names."""
        (self.folder / "door").unlink(missing_ok=True)  # of one that was killed
        config = self._config()
        for key, value in self._extra_config.items():
            of_mapping = isinstance(value, Mapping) and isinstance(config.get(key), Mapping)
            config[key] = {**config[key], **value} if of_mapping else value
        # JSON is YAML, and its quoting needs no thought.
        (self.folder / "ejabberd.yml").write_text(json.dumps(config, indent=1))
        # Neither the machine's name servers nor the helper program that asks them.
        names = ["{lookup, [file, dns]}.", "clear_ns.", '{resolv_conf, ""}.', '{hosts_file, ""}.']
        if self._s2s is not None:
            names.append(f"{{nameserver, {{127,0,0,1}}, {self._s2s.dns_port}}}.")
        (self.folder / "inetrc").write_text("\n".join(names) + "\n")

    def _config(self) -> dict[str, Any]:
        config = {
            "hosts": [self.domain],
            "loglevel": "info",
            "listen": self._listeners(),
            "modules": self._modules,
            # As Debian has it; left out, there is no limit.
            "shaper_rules": {"max_user_sessions": 10, "max_user_offline_messages": 100},
        }
        if self._s2s is None:
            return config | {"s2s_access": "none"}
        return config | {
            # Without dialback a certificate is the only way in, and TLS the only way out.
            "s2s_use_starttls": "required",
            "certfiles": [str(self._s2s.certificate)],
            "ca_file": str(self._s2s.authority),
            # After a failure it refuses a domain for a random time up to this; 5 minutes otherwise.
            "s2s_max_retry_delay": 1,
        }

    def _listeners(self) -> Sequence[Mapping[str, Any]]:
        # The backlog is 5 otherwise: a crowd that logs in at once would be held up for seconds.
        loopback = {"ip": self.host, "backlog": 1024}
        services = {domain: {"password": secret} for domain, secret in self._components.items()}
        clients = {"port": self.c2s_port, "module": "ejabberd_c2s", **loopback}
        components = {
            "port": self.component_port,
            "module": "ejabberd_service",
            "hosts": services,
            # Else each component that connects gets what is for all others of the port as well.
            "global_routes": False,
            **loopback,
        }
        if self._s2s is None:
            return (clients, components)
        servers = {"port": self._s2s.port, "module": "ejabberd_s2s_in", **loopback}
        return (clients, components, servers)


def _libraries() -> str:
    """Where ejabberd's Erlang code lies, as its package says."""
    script = shutil.which("ejabberdctl", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if script is not None and shutil.which("erl") is not None:
        said = re.search(r"^ERL_LIBS='([^']+)'$", Path(script).read_text(), re.MULTILINE)
        return said[1] if said else ""  # "": with the rest of Erlang, where it looks anyway
    raise StreamError(
        "There is no ejabberd on this machine; type: "
        "sudo apt-get install --no-install-recommends ejabberd"
    )


def _erlang(text: str) -> str:
    """A string as an Erlang binary, whatever characters it has."""
    return f"<<{','.join(map(str, text.encode()))}>>"

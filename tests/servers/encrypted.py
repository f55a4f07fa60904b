"""Private servers as real ones are: clients have to be encrypted, and may register.

    async with encrypted(Prosody) as (server, authority):
        …  # STARTTLS on server.c2s_port, with a certificate for its domain from `authority`

There is a second component besides the relay's, `BESIDE`, for a benchmark beside a relay that runs.
"""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import trustme

from tests.servers.ejabberd import MODULES as OF_EJABBERD
from tests.servers.ejabberd import Ejabberd
from xmpprelay.quickstart.prosody import MODULES, Prosody

BESIDE: Final = "bench.example.test"
SECRET: Final = "beside"
"""Of that component."""


class EncryptedProsody(Prosody):
    def __init__(self, certificate: Path, more: str = "") -> None:
        modules = ", ".join(f'"{name}"' for name in (*MODULES, "tls"))
        super().__init__(
            extra_config=f"""
modules_enabled = {{ {modules} }}
c2s_require_encryption = true
allow_unencrypted_plain_auth = false
allow_registration = true
component_conflict_resolve = "kick_old"
ssl = {{ certificate = "{certificate}", key = "{certificate}" }}
{more}
Component "{BESIDE}"
    component_secret = "{SECRET}"
"""
        )


class EncryptedEjabberd(Ejabberd):
    def __init__(self, certificate: Path, more: Mapping[str, Any] | None = None) -> None:
        super().__init__(
            components={BESIDE: SECRET},
            extra_config={
                "certfiles": [str(certificate)],
                "modules": OF_EJABBERD | {"mod_register": {"ip_access": "all"}},
                "registration_timeout": "infinity",
                **(more or {}),
            },
        )

    def _listeners(self) -> Sequence[Mapping[str, Any]]:
        clients, *others = super()._listeners()
        more = {"starttls_required": True, "access": "c2s", "shaper": "c2s_shaper"}
        return ({**clients, **more}, *others)

    def _config(self) -> dict[str, Any]:
        config = super()._config()
        config["access_rules"] = {"c2s": [{"allow": "all"}]}
        config["shaper_rules"] |= {"c2s_shaper": "none"}
        return config


@contextlib.asynccontextmanager
async def encrypted(
    kind: type[Prosody] | type[Ejabberd], more: Any = None
) -> AsyncIterator[tuple[Prosody | Ejabberd, Path]]:
    """A server of that kind, and the file of its authority; `more` is of its configuration."""
    with tempfile.TemporaryDirectory(prefix="xmpprelay-tls-") as name:
        folder = Path(name)
        _issue_certificate(folder)
        made = EncryptedProsody if issubclass(kind, Prosody) else EncryptedEjabberd
        async with made(folder / "certificate.pem", *(() if more is None else (more,))) as server:
            yield server, folder / "authority.pem"


def _issue_certificate(folder: Path) -> None:
    folder.chmod(0o755)  # Prosody of root runs as somebody else
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    # trustme's certificates last a thousand years, which kills ejabberd: it sets a timer.
    until = datetime.now(UTC) + timedelta(days=30)
    issued = authority.issue_cert("example.test", not_after=until)
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "certificate.pem")

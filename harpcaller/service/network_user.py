"""Whom the process that strangers talk to runs as."""

from __future__ import annotations

import attrs

from harpcaller.agent.accounts import NoAccount, find
from harpcaller.agent.proc import Account
from harpcaller.agent.separation.table import Confine
from harpcaller.logs.events import EventLog

#: Tried in this order if nobody is named.
USUAL = ("harpd", "nobody")


@attrs.frozen
class NetworkUser:
    """What becomes of the network process's rights.

    Args:
        confine: What it is told.
        name: Whom it runs as, in words.
        advice: What would be better; None if it is fine.
    """

    confine: Confine
    name: str
    advice: str | None = None

    def tell(self, log: EventLog, confinement: str) -> None:
        """Log who it is now."""
        hint = {} if self.advice is None else {"hint": self.advice}
        log.info("agent.network_confined", user=self.name, confinement=confinement, **hint)


def network_user(wanted: Account | None, own: int) -> NetworkUser:
    """Find whom the network process is to run as.

    Args:
        wanted: Who was named, if somebody was.
        own: Whom the agent runs as.

    Raises:
        NoAccount: There is no such user.
    """
    if own != 0:
        if wanted is not None and _uid_of(wanted) != own:
            raise NoAccount(f"only root can become user {wanted!r}; harpd runs as user {own}")
        return NetworkUser(Confine(False, 0, 0), f"{own}, as all of the agent")
    if wanted is not None:
        return _become(wanted, None)
    for name in USUAL[:-1]:
        try:
            return _become(name, None)
        except NoAccount:
            continue
    advice = f"procedures may run as {USUAL[-1]}, too: useradd --system {USUAL[0]}"
    return _become(USUAL[-1], advice)


def _become(wanted: Account, advice: str | None) -> NetworkUser:
    identity = find(wanted, None)
    assert identity is not None
    if identity.uid == 0:
        return NetworkUser(Confine(False, 0, 0), "root", "as root it isn't confined")
    return NetworkUser(Confine(True, identity.uid, identity.gid), str(wanted), advice)


def _uid_of(wanted: Account) -> int:
    identity = find(wanted, None)
    assert identity is not None
    return identity.uid

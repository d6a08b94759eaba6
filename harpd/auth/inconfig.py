"""Users in the configuration itself; see :mod:`harpcaller.agent.auth.inconfig`."""

from harpcaller.agent.auth.inconfig import create

__all__ = ["create"]

"""Users in a file of their own; see :mod:`harpcaller.agent.auth.passfile`."""

from harpcaller.agent.auth.passfile import create

__all__ = ["create"]

"""What the daemons ask of a reactor: everything that those of Unix can do."""

from __future__ import annotations

from twisted.internet.posixbase import PosixReactorBase

Reactor = PosixReactorBase

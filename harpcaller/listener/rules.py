"""Which client may do what: ``[[allow]]`` rules, decided.  Pure.

While there is no rule, everybody may do everything.  Once there is one, what no rule
allows is denied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate

import attrs

from harpcaller.config.access import ANONYMOUS, AllowRule


def _matcher(patterns: Iterable[str]) -> Callable[[str], object]:
    """Make the test whether one of some shell patterns matches; case counts."""
    return re.compile("|".join(map(translate, patterns))).match


class _Rule:
    """One rule, ready to be asked."""

    def __init__(self, rule: AllowRule) -> None:
        self._names = _matcher(rule.clients)
        self._anonymous = ANONYMOUS in rule.clients
        self._operations = frozenset(rule.operations)
        self._hosts = _matcher(rule.hosts)
        self._procedures = _matcher(rule.procedures)
        self.own_only = rule.jobs == "own"
        self.everywhere = "*" in rule.hosts and "*" in rule.procedures and not self.own_only

    def is_about(self, client: str | None, operation: str) -> bool:
        # A client without a name is let in by the word for it only, and not by a "*".
        known = self._anonymous if client is None else bool(self._names(client))
        return known and ("*" in self._operations or operation in self._operations)

    def covers(self, host: str, procedure: str | None) -> bool:
        return bool(self._hosts(host) and (procedure is None or self._procedures(procedure)))


@attrs.frozen
class Rights:
    """What one client may do by one operation."""

    _rules: tuple[_Rule, ...]
    _everything: bool = False

    @property
    def none(self) -> bool:
        """Whether it may do nothing by it, anywhere."""
        return not (self._everything or self._rules)

    @property
    def everywhere(self) -> bool:
        """Whether neither host nor procedure matters, nor whose job it is."""
        return self._everything or any(rule.everywhere for rule in self._rules)

    def cover(self, host: str, procedure: str | None = None, *, own: bool = True) -> bool:
        """Tell whether they cover a procedure on a host, or the host as such.

        Args:
            host: The host.
            procedure: The procedure, if it is about one.
            own: Whether it is about nobody else's job.
        """
        return self._everything or any(
            rule.covers(host, procedure) for rule in self._rules if own or not rule.own_only
        )


_EVERYTHING = Rights((), everything=True)


class Rules:
    """The rules in force.

    Args:
        allowed: What the configuration says.
    """

    def __init__(self, allowed: Iterable[AllowRule] = ()) -> None:
        self._rules = tuple(map(_Rule, allowed))

    def rights(self, client: str | None, operation: str) -> Rights:
        """Give what a client may do by an operation.

        Args:
            client: Its name; None if nobody knows it.
        """
        if not self._rules:
            return _EVERYTHING
        return Rights(tuple(rule for rule in self._rules if rule.is_about(client, operation)))

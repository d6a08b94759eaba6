"""Which hosts a command line means: ``web01``, ``web01,db01``, ``'web*'``, or a mix of them.

Pure.  A pattern is one of the shell's kind and of the whole name: ``*`` any characters, ``?``
one, ``[ab]`` one of these.  Names are taken as they are, whether the registry has them or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from harpcaller.client.exceptions import HarpException


def is_several(hosts: str) -> bool:
    """Tell whether it is more than the name of one host, by how it is written."""
    return "," in hosts or is_pattern(hosts)


def is_pattern(hosts: str) -> bool:
    """Tell whether the registry's names are needed to know which hosts are meant."""
    return any(character in hosts for character in "*?[")


def select(hosts: str, registry: Sequence[str]) -> list[str]:
    """Give the hosts that are meant, each once, in the order in which they are written.

    Args:
        hosts: Names and patterns, with commas between them.
        registry: All names there are, in the order in which a pattern gives them; used for
            patterns only.

    Raises:
        HarpException: A pattern fits no host, or something is missing around a comma.
    """
    found: dict[str, None] = {}
    for part in hosts.split(","):
        if not part:
            raise HarpException(f"a host's name is missing around a comma in {hosts!r}")
        if not is_pattern(part):
            found[part] = None
            continue
        fitting = [name for name in registry if fnmatchcase(name, part)]
        if not fitting:
            raise HarpException(f"no host in the registry fits {part!r}")
        found.update(dict.fromkeys(fitting))
    return list(found)

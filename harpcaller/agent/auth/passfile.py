"""Users in a file of their own: lines ``user:crypt-hash``, ``#`` begins a comment line.

::

    authentication:
      module: harpd.auth.passfile
      file: /etc/harpd/users
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harpcaller.agent.auth.hashes import BadHash, Secret, Users, read_hash
from harpcaller.config.problems import ConfigurationError, Problem


def create(config: Mapping[str, object]) -> Users:
    """Read the users' file.

    Raises:
        ConfigurationError: It can't be read, or there are mistakes in it; tells all.
        ValueError: The configuration doesn't name it.
    """
    path = config.get("file")
    if not isinstance(path, str) or not path:
        raise ValueError("authentication.file: expected the path of the users' file")
    unknown = sorted(set(config) - {"file"})
    if unknown:
        raise ValueError(f"authentication.{unknown[0]}: unknown; harpd.auth.passfile has only file")
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigurationError([Problem(path, None, error.strerror or str(error))]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([Problem(path, None, "not UTF-8")]) from None
    return Users(parse(path, text))


def parse(path: str, text: str) -> dict[str, Secret]:
    """Read the content of a users' file.

    Raises:
        ConfigurationError: There are mistakes in it; tells all, never showing a hash.
    """
    users: dict[str, Secret] = {}
    problems = []
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        user, colon, hashed = content.partition(":")
        if not colon or not user:
            problems.append(Problem(path, number, "expected user:crypt-hash"))
        elif user in users:
            problems.append(Problem(path, number, f"user {user!r} stands twice"))
        else:
            try:
                users[user] = read_hash(hashed)
            except BadHash as error:
                problems.append(Problem(path, number, f"user {user!r}: {error}"))
    if problems:
        raise ConfigurationError(problems)
    return users

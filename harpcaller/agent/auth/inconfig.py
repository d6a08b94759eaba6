"""Users in the configuration itself: ``plain:`` passwords or ``crypt:`` hashes.

::

    authentication:
      module: harpd.auth.inconfig
      users:
        dispatcher: "crypt:$6$..."
        tester: "plain:secret"
"""

from __future__ import annotations

from collections.abc import Mapping

from harpcaller.agent.auth.hashes import BadHash, Plain, Secret, Users, read_hash


def create(config: Mapping[str, object]) -> Users:
    """Take the users from the configuration.

    Raises:
        ValueError: There are mistakes in it; tells all, a line each, and never a password.
    """
    users = config.get("users")
    if not isinstance(users, dict):
        raise ValueError("authentication.users: expected names with plain: or crypt: passwords")
    secrets: dict[str, Secret] = {}
    mistakes = [
        f"authentication.{key}: unknown; harpd.auth.inconfig has only users"
        for key in sorted(set(config) - {"users"})
    ]
    for user, given in users.items():
        try:
            secrets[str(user)] = _secret(given)
        except BadHash as error:
            mistakes.append(f"authentication.users.{user}: {error}")
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return Users(secrets)


def _secret(given: object) -> Secret:
    kind, _, value = given.partition(":") if isinstance(given, str) else ("", "", "")
    if kind == "plain" and value:
        return Plain(value)
    if kind == "crypt":
        return read_hash(value)
    raise BadHash("expected plain:PASSWORD or crypt:HASH")

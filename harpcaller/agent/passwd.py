"""``harpd-passwd``: who may call an agent, and with which password.

Exit codes: 0, 1 for what couldn't be done, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from getpass import getpass
from pathlib import Path

from harpcaller.agent.auth.hashes import METHODS, BadHash, make_hash
from harpcaller.agent.auth.passwords import (
    BadUser,
    change,
    check_name,
    names,
    with_user,
    without_user,
)


class NotDone(Exception):
    """What was asked for couldn't be done; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.list == (given.user is not None):
        parser.error("--list takes no USER" if given.list else "USER is missing")
    try:
        print(_done(given))
    except (NotDone, BadHash, BadUser) as error:
        print(f"harpd-passwd: {error}", file=sys.stderr)
        return 1
    except UnicodeDecodeError:
        print(f"harpd-passwd: {given.file}: not UTF-8", file=sys.stderr)
        return 1
    except OSError as error:
        where = error.filename or given.file
        print(f"harpd-passwd: {where}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harpd-passwd",
        description="Set the password of a user of harpd's authentication module"
        " harpd.auth.passfile. It is asked for twice, or read as one line of standard input.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the users' file")
    parser.add_argument("user", nargs="?", metavar="USER", help="whose password to set")
    parser.add_argument(
        "-m",
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="how the password is hashed (default: %(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("-d", "--delete", action="store_true", help="delete the user")
    what.add_argument("-l", "--list", action="store_true", help="list the users")
    return parser


def _done(given: argparse.Namespace) -> str:
    """Do what was asked for, and tell what was done."""
    file, user = given.file, given.user
    if given.list:
        return "\n".join(names(file.read_text("utf-8")))
    check_name(user)
    if given.delete:
        _delete(file, user)
        return f"{user} is deleted from {file}; harpd takes note when it is reloaded"
    hashed = make_hash(given.method, _ask())
    change(file, lambda text: with_user(text, user, hashed))
    return f"{user} has a new password in {file}; harpd takes note when it is reloaded"


def _delete(file: Path, user: str) -> None:
    try:
        change(file, lambda text: without_user(text, user))
    except KeyError:
        raise NotDone(f"{file}: there is no user {user!r}") from None


def _ask() -> str:
    """Get the new password."""
    if sys.stdin.isatty():
        try:
            password = getpass("New password: ")
            again = getpass("Once more: ")
        except EOFError:
            raise NotDone("no password was given") from None
        if password != again:
            raise NotDone("the two aren't the same; nothing was changed")
    else:
        try:
            password = sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise NotDone("the password isn't UTF-8") from None
    if not password:
        raise NotDone("a password can't be empty")
    return password


if __name__ == "__main__":
    sys.exit(main())

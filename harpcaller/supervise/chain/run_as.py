"""``harpsv run-as OPTIONS PROGRAM...``: several steps of a chain, with one start of Python.

Its letters are those of runit's chpst, so that they needn't be learnt twice.  Whatever the order
of the options, the steps have one order: what root has to do, then what is the user's.
"""

import os
import resource

from harpcaller.supervise.chain import accounts, envdir, setlock, setuidgid, softlimit
from harpcaller.supervise.chain.execution import STARTED_WITH, become
from harpcaller.supervise.chain.options import Options
from harpcaller.supervise.messages import USED_WRONGLY, Ended, fatal, show

TOOL = "run-as"

SYNOPSIS = "run-as: usage: run-as [ options ] program [ arg ... ]; run-as --help lists the options"

HELP = """\
Usage: harpsv run-as [OPTION ...] PROGRAM [ARGUMENT ...]

Runs a program with another environment, user, limits and the like; see harpsv-run-as(8).

  -e, --env-dir=DIR        set variables as the files of DIR say; more than once, if need be
  -U, --env-user=ACCOUNT   set UID and GID to the account's numbers
  -u, --user=ACCOUNT       become the user, in its own group only
      --all-groups         ... and in all others that the user is in
  -l, --lock=FILE          lock FILE, and wait for it
  -L, --try-lock=FILE      lock FILE, or give up
      --stdin=FILE         read standard input from FILE
      --stdout=FILE        append standard output to FILE
      --stderr=FILE        append standard error to FILE
      --stderr-to-stdout   send standard error where standard output goes
      --umask=MODE         take these permissions (octal) from files that are made
  -P, --session            be in a session and process group of one's own
  -n, --nice=N             be nicer to others by N, or less nice by -N
  -C, --chdir=DIR          change to DIR, as the user
  -a, -c, -d, -f, -m, -o, -p, -r, -s, -t LIMIT
                           limits, as for softlimit
      --locked=BYTES       limit locked memory (softlimit's -l)
  -h, --help               print this
"""

_LONG = {
    "env-dir": "e",
    "env-user": "U",
    "user": "u",
    "all-groups": "all-groups",
    "lock": "l",
    "try-lock": "L",
    "stdin": "stdin",
    "stdout": "stdout",
    "stderr": "stderr",
    "stderr-to-stdout": "stderr-to-stdout",
    "umask": "umask",
    "session": "P",
    "nice": "n",
    "chdir": "C",
    "locked": "locked",
    "help": "h",
}
_FLAGS = ("all-groups", "stderr-to-stdout", "P", "h")
#: Options that set a limit, and softlimit's letters for them.
_LIMITS = {**{letter: letter for letter in softlimit.LIMITS if letter != "l"}, "locked": "l"}
_VALUED = (
    *("e", "U", "u", "l", "L", "stdin", "stdout", "stderr", "umask", "n", "C"),
    *_LIMITS,
)


class Wishes:
    """What a command line asks for.

    Attributes:
        last: Options that count once, by key, with the value given last.
        directories: Environment directories in the order of reading.
        limits: softlimit's letters and values, in the order of setting.
        umask: The umask, or None to leave it.
        niceness: What to add to the niceness.
        command: Program and arguments; empty if help was asked for.
    """

    def __init__(self, argv: list[str]) -> None:
        """Read a command line.

        Raises:
            Ended: It is wrong.
        """
        self.last: dict[str, str] = {}
        self.directories: list[str] = []
        self.limits: list[tuple[str, str]] = []
        options = Options(TOOL, _FLAGS, _VALUED, SYNOPSIS, argv, _LONG)
        for key, value in options:
            if key == "e":
                self.directories.append(value)
            elif key in _LIMITS:
                if softlimit.soft(value, resource.RLIM_INFINITY) is None:
                    raise _wrong(f"-{key} {value}: digits or = were expected")
                self.limits.append((_LIMITS[key], value))
            else:
                self.last[key] = value
        self.umask = _umask(self.last.get("umask"))
        self.niceness = _niceness(self.last.get("n", "0"))
        self.command = options.rest
        for one, other in (("l", "L"), ("stderr", "stderr-to-stdout")):
            if one in self.last and other in self.last:
                raise _wrong(f"{_shown(one)} and {_shown(other)} exclude each other")
        if "all-groups" in self.last and "u" not in self.last:
            raise _wrong("--all-groups needs --user")
        if not self.command and "h" not in self.last:
            raise Ended(SYNOPSIS, USED_WRONGLY)


def main(argv: list[str]) -> int:
    """Take all the steps, and become the program."""
    wishes = Wishes(argv)
    if "h" in wishes.last:
        show(TOOL, HELP)
        return 0
    path = _set_environment(wishes)
    account = wishes.last.get("u")
    user, group = accounts.find(TOOL, account) if account is not None else (-1, -1)
    if (file := wishes.last.get("l", wishes.last.get("L"))) is not None:
        setlock.take(TOOL, file, wait="l" in wishes.last)
    if wishes.umask is not None:
        os.umask(wishes.umask)
    _redirect(wishes)
    if "P" in wishes.last:
        try:
            os.setsid()
        except PermissionError:
            pass  # it leads a group already
    _be_nice(wishes.niceness)
    for letter, value in wishes.limits:
        softlimit.impose(TOOL, letter, value, _wrong(f"-{letter} {value}"))
    if account is not None:
        groups = os.getgrouplist(account, group) if "all-groups" in wishes.last else [group]
        setuidgid.switch(TOOL, user, group, groups)
    if (directory := wishes.last.get("C")) is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise fatal(TOOL, f"unable to switch to directory {directory}", error) from None
    become(TOOL, wishes.command, path)


def _set_environment(wishes: Wishes) -> bytes | None:
    """Set the variables; gives PATH as it is then."""
    path = STARTED_WITH
    for directory in wishes.directories:
        path = envdir.apply(TOOL, directory).get(b"PATH", path)
    if (account := wishes.last.get("U")) is not None:
        user, group = accounts.find(TOOL, account)
        os.putenv("GID", str(group))
        os.putenv("UID", str(user))
    return path


def _redirect(wishes: Wishes) -> None:
    """Give the standard descriptors other files."""
    appending = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for descriptor, key, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", appending),
        (2, "stderr", appending),
    ):
        if (file := wishes.last.get(key)) is None:
            continue
        try:
            opened = os.open(file, flags, 0o666)
        except OSError as error:
            raise fatal(TOOL, f"unable to open {file}", error) from None
        if opened == descriptor:
            os.set_inheritable(opened, True)
        else:
            os.dup2(opened, descriptor)
            os.close(opened)
    if "stderr-to-stdout" in wishes.last:
        try:
            os.dup2(1, 2)
        except OSError as error:
            raise fatal(TOOL, "unable to use standard output", error) from None


def _be_nice(niceness: int) -> None:
    if not niceness:
        return
    try:
        os.nice(niceness)
    except OSError as error:
        raise fatal(TOOL, f"unable to change niceness by {niceness}", error) from None


def _umask(value: str | None) -> int | None:
    if value is None:
        return None
    if not value or value.strip("01234567") or int(value, 8) > 0o777:
        raise _wrong(f"--umask {value}: octal digits up to 777 were expected")
    return int(value, 8)


def _niceness(value: str) -> int:
    digits = value.removeprefix("-")
    # More than 40 steps there are not; longer numbers are not worth reading.
    if not digits or digits.strip("0123456789") or len(digits) > 9:
        raise _wrong(f"--nice {value}: a number was expected")
    return int(value)


def _wrong(what: str) -> Ended:
    return Ended(f"{TOOL}: fatal: {what}", USED_WRONGLY)


def _shown(key: str) -> str:
    """Give an option as it is written."""
    return f"-{key}" if len(key) == 1 else f"--{key}"

"""``harpsv``: one command with many names, in the manner of busybox.

daemontools' names belong to other packages, so its tools are ``harpsv envdir ...``; or
``harpsv --link DIR`` makes links with the original names, and a link's name chooses the tool.

A tool is a function ``main(argv: list[str]) -> int``: it gets the arguments after its name, gives
the exit code, and may raise :class:`~harpcaller.supervise.messages.Ended`.  Its module is imported
when it is called for, and the links start Python without the search for installed packages: so
this module imports nothing that isn't there already.
"""

import sys

from harpcaller.supervise.chain.inherited import put_back
from harpcaller.supervise.messages import USED_WRONGLY, Ended, say, show

#: The tools, with their modules. None needs an installed package: links start Python without.
TOOLS = {
    "envdir": "harpcaller.supervise.chain.envdir",
    "envuidgid": "harpcaller.supervise.chain.envuidgid",
    "setuidgid": "harpcaller.supervise.chain.setuidgid",
    "softlimit": "harpcaller.supervise.chain.softlimit",
    "setlock": "harpcaller.supervise.chain.setlock",
    "pgrphack": "harpcaller.supervise.chain.pgrphack",
    "fghack": "harpcaller.supervise.chain.fghack",
    "run-as": "harpcaller.supervise.chain.run_as",
    "multilog": "harpcaller.supervise.multilog.command",
    "tai64n": "harpcaller.supervise.tai64n.stamp",
    "tai64nlocal": "harpcaller.supervise.tai64n.local",
    "supervise": "harpcaller.supervise.tools.supervise",
    "svscan": "harpcaller.supervise.tools.svscan",
    "svscanboot": "harpcaller.supervise.tools.svscanboot",
    "svc": "harpcaller.supervise.tools.svc",
    "svok": "harpcaller.supervise.tools.svok",
    "svstat": "harpcaller.supervise.tools.svstat",
    "readproctitle": "harpcaller.supervise.tools.readproctitle",
    "status": "harpcaller.supervise.tools.status",
}

#: Tools that daemontools hasn't; there are no links for them.
OWN = frozenset({"run-as", "status"})

#: daemontools' names, which there are links for.
LINKED = sorted(TOOLS.keys() - OWN)

HELP = """\
Usage: harpsv TOOL [ARGUMENT ...]
       harpsv --link DIR
       harpsv --help | --version

Keeps services up, with the tools of daemontools:

{tools}

--link makes links with the tools' names in DIR; put it in PATH, and scripts find them.
A link's name chooses the tool. See harpsv(8), and each tool's manual page.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the tool that the command's name or its first argument tells; gives the exit code.

    Args:
        argv: The whole command line, or None for that of the process.
    """
    name, *arguments = sys.argv if argv is None else argv
    tool = name.rpartition("/")[2]
    try:
        if tool in TOOLS:
            return _call(tool, arguments)
        return _harpsv(arguments)
    except Ended as end:
        if end.line:
            say(end.line)
        return end.exit_code


def _harpsv(arguments: list[str]) -> int:
    """The command under its own name."""
    what = "a tool's name is missing"
    match arguments:
        case [tool, *rest] if tool in TOOLS:
            return _call(tool, rest)
        case ["--link", directory]:
            # What few calls need isn't read by all.
            from harpcaller.supervise.links import make_links

            make_links(directory, LINKED)
            return 0
        case ["--help" | "-h"]:
            show("harpsv", HELP.format(tools=_in_columns(sorted(TOOLS))))
            return 0
        case ["--version"]:
            from harpcaller import __version__

            show("harpsv", f"harpsv {__version__}\n")
            return 0
        case ["--link", *_]:
            what = "--link takes one directory"
        case [unknown, *_]:
            what = f"there is no tool {unknown}"
    raise Ended(f"harpsv: fatal: {what}; harpsv --help lists them", USED_WRONGLY)


def _call(tool: str, arguments: list[str]) -> int:
    """Import the tool's module and run it."""
    put_back()
    code: int = __import__(TOOLS[tool], None, None, ["main"]).main(arguments)
    return code


def _in_columns(names: list[str]) -> str:
    width = 2 + max(map(len, names))
    rows = [names[start : start + 5] for start in range(0, len(names), 5)]
    return "\n".join("  " + "".join(f"{name:<{width}}" for name in row).rstrip() for row in rows)


if __name__ == "__main__":
    sys.exit(main())

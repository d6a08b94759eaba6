"""The completion scripts, in real shells."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from harpcaller.client.completion import script
from harpcaller.client.options import SHELLS, command_options
from tests.system.test_client_several import SeveralCase

#: What a name may not do, wherever it comes from.
NASTY = "$(touch owned)`touch owned`;touch owned"
#: Seconds in which a shell must have answered.
PATIENCE = 60.0


def described(name: str, streaming: bool = False) -> dict[str, Any]:
    """Describe a procedure as agents do."""
    return {"name": name, "signature": "(a, b=...)", "doc": "Do it.\nMore.", "streaming": streaming}


class CompletionCase(SeveralCase):
    """Tests with a shell, in a folder of their own."""

    shell = ""

    def setUp(self) -> None:
        super().setUp()
        if self.shell and shutil.which(self.shell) is None:
            raise SkipTest(f"{self.shell} is not installed")
        made = tempfile.TemporaryDirectory(prefix="harp-completion-")
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.fleet.hosts = ["db01", "web01", "web02"]
        self.fleet.procedures["web01"] = [described("restart"), described("report", True)]
        harp = self.folder / "harp"
        start = "import sys; from harpcaller.client.command import main; sys.exit(main())"
        harp.write_text(f"#!{sys.executable}\n{start}\n")
        harp.chmod(0o700)
        path = f"{self.folder}:{os.environ['PATH']}"
        self.environ = {
            **os.environ,
            "PATH": path,
            "HOME": made.name,
            "TERM": "xterm",
            "HARPCALLER": f"127.0.0.1:{self.dispatcher.port}",
        }
        self.script = self.folder / "_harp"
        if self.shell:
            self.script.write_text(script(self.shell, command_options()))

    def run_shell(self, commands: str) -> str:
        """Run commands in the shell; nothing may go to standard error."""
        done = subprocess.run(
            [self.shell, "-c", commands],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual("", done.stderr)
        return done.stdout

    def complete(self, line: str) -> list[str]:
        """Give what the shell offers after these words."""
        raise NotImplementedError

    def check_words(self) -> None:
        """What every shell offers."""
        for line, expected in [
            ("harp proc", ["procedures"]),
            ("harp ", [command.name for command in command_options()]),
            ("harp call ", ["db01", "web01", "web02"]),
            ("harp call we", ["web01", "web02"]),
            ("harp hosts d", ["db01"]),
            ("harp procedures web0", ["web01", "web02"]),
            ("harp call web01,d", ["web01,db01"]),
            ("harp call web01 ", ["report", "restart"]),
            ("harp call web01,db01 res", ["restart"]),
            ("harp call --timeout 5 web01 rep", ["report"]),
            ("harp call web01 --follow rep", ["report"]),
            ("harp call web01 --fol", ["--follow"]),
            ("harp result --w", ["--wait"]),
            ("harp call db01 ", []),
            ("harp call web01 restart ", []),
            ("harp status ", []),
            ("harp completion f", ["fish"]),
        ]:
            self.assertEqual(sorted(expected), sorted(self.complete(line)), line)

    def check_dispatcher(self) -> None:
        """The dispatcher that is named on the line is the one that is asked."""
        self.environ["HARPCALLER"] = "127.0.0.1:1"
        self.assertEqual([], self.complete("harp call "))
        for option in ("--dispatcher ", "--dispatcher="):
            line = f"harp call {option}127.0.0.1:{self.dispatcher.port} "
            self.assertEqual(["db01", "web01", "web02"], self.complete(line))
            self.assertEqual(["restart"], self.complete(f"{line}web01 res"))

    def check_nothing_is_run(self) -> None:
        """Names come from afar."""
        self.fleet.hosts = [NASTY]
        self.fleet.procedures["web01"] = [described(NASTY)]
        self.assertEqual(1, len(self.complete("harp call ")))
        self.assertEqual(1, len(self.complete("harp call web01 ")))
        self.assertFalse((self.folder / "owned").exists())


class BashTests(CompletionCase):
    shell = "bash"

    def complete(self, line: str) -> list[str]:
        """Cut the line as bash does it, and ask the script."""
        words: list[str] = []
        for word in line.split(" "):
            piece = ""
            for character in word:
                if character in ":=":
                    words += [piece, character] if piece else [character]
                    piece = ""
                else:
                    piece += character
            words.append(piece)
        quoted = " ".join(f"'{word}'" for word in words)
        # Where a word ends with a separator bash has no empty word behind it.
        found = self.run_shell(
            f"source ./_harp; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _harp;"
            'for name in "${COMPREPLY[@]}"; do printf "%s\\n" "$name"; done'
        )
        return found.splitlines()

    def test_words(self) -> None:
        """Commands, options, hosts, procedures."""
        self.check_words()

    def test_dispatcher_on_the_line(self) -> None:
        """It is the one that is asked."""
        self.check_dispatcher()

    def test_names_from_afar(self) -> None:
        """Nothing in them is run, and they are quoted."""
        self.check_nothing_is_run()
        (name,) = self.complete("harp call ")
        self.assertIn("\\$\\(touch\\ owned\\)", name)

    def test_name_with_a_colon(self) -> None:
        """Bash replaces only what comes after it."""
        self.fleet.hosts = ["rack1:web01", "rack1:web02", "rack2:web01"]
        self.assertEqual(["web01", "web02"], self.complete("harp call rack1:we"))

    def test_value_of_an_option(self) -> None:
        """Nobody knows what it is."""
        self.assertEqual([], self.complete("harp call --timeout "))

    def test_it_is_what_bash_uses(self) -> None:
        """Sourcing the script is all there is to do."""
        said = self.run_shell("source <(harp completion bash); complete -p harp")
        self.assertEqual("complete -F _harp harp\n", said)


class FishTests(CompletionCase):
    shell = "fish"

    def complete(self, line: str) -> list[str]:
        found = self.run_shell(f"source ./_harp; complete -C '{line}'")
        return [text.split("\t")[0] for text in found.splitlines()]

    def test_words(self) -> None:
        """Commands, options, hosts, procedures."""
        self.check_words()

    def test_dispatcher_on_the_line(self) -> None:
        """It is the one that is asked."""
        self.check_dispatcher()

    def test_names_from_afar(self) -> None:
        """Nothing in them is run."""
        self.check_nothing_is_run()

    def test_explanations(self) -> None:
        """What a procedure takes and does stands beside it."""
        found = self.run_shell("source ./_harp; complete -C 'harp call web01 res'")
        self.assertEqual("restart\t(a, b=...) Do it.\n", found)


class ZshTests(CompletionCase):
    """In zsh completion happens in the line editor only, so it gets a terminal."""

    shell = "zsh"

    def typed(self, *lines: str, load: str = "source ./_harp") -> list[str]:
        """Type each line and Tab in an interactive zsh; give what the line became."""
        (self.folder / ".zshrc").write_text(
            "PROMPT='READY> '; unsetopt zle_bracketed_paste prompt_sp beep list_beep\n"
            "setopt list_ambiguous no_auto_remove_slash\n"
            f"fpath+=($PWD/functions); autoload -U compinit; compinit -u -D\n{load}\n"
            # What Tab made of the line goes to a file, which is easier to read than a screen.
            'note() { print -r -- "$BUFFER" >> noted; BUFFER=; zle redisplay }\n'
            "zle -N note; bindkey '^X' note\n"
        )
        noted = self.folder / "noted"
        noted.write_text("")
        pid, terminal = pty.fork()
        if pid == 0:  # pragma: no cover
            os.chdir(self.folder)
            os.execvpe("zsh", ["zsh", "-i"], self.environ)  # noqa: S606  # the shell itself
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.close, terminal)
        self.addCleanup(os.write, terminal, b"\x15exit\n")
        self.read_until(terminal, lambda seen: b"READY> " in seen)
        for count, line in enumerate(lines, 1):
            os.write(terminal, f"{line}\t\x18".encode())
            self.read_until(
                terminal, lambda seen, count=count: noted.read_text().count("\n") >= count
            )
        return noted.read_text().splitlines()

    def read_until(self, terminal: int, done: Any) -> None:
        """Read what the shell shows until that holds."""
        seen = b""
        deadline = time.monotonic() + PATIENCE
        while not done(seen):
            self.assertLess(time.monotonic(), deadline, seen)
            if select.select([terminal], [], [], 0.05)[0]:
                seen += os.read(terminal, 65536)

    def test_words(self) -> None:
        """What fits several is completed as far as it goes."""
        address = f"127.0.0.1:{self.dispatcher.port}"
        became = self.typed(
            "harp proc",
            "harp call d",
            "harp call w",
            "harp hosts d",
            "harp call web01,d",
            "harp call web01 rest",
            "harp call web01,db01 rest",
            "harp call --timeout 5 web01 rep",
            "harp call web01 --fol",
            "harp call web01 restart --fol",
            "harp result --w",
            "harp status ",
            "harp completion f",
            f"HARPCALLER=127.0.0.1:1 harp call --dispatcher {address} d",
        )
        self.assertEqual(
            [
                "harp procedures ",
                "harp call db01 ",
                "harp call web0",
                "harp hosts db01 ",
                "harp call web01,db01 ",
                "harp call web01 restart ",
                "harp call web01,db01 restart ",
                "harp call --timeout 5 web01 report ",
                "harp call web01 --follow ",
                "harp call web01 restart --follow ",
                "harp result --wait ",
                "harp status ",
                "harp completion fish ",
                f"HARPCALLER=127.0.0.1:1 harp call --dispatcher {address} db01 ",
            ],
            became,
        )

    def test_found_by_zsh(self) -> None:
        """In a folder of functions it needs no sourcing."""
        functions = self.folder / "functions"
        functions.mkdir()
        self.script.rename(functions / "_harp")
        became = self.typed("harp call d", "harp call w", load=":")
        self.assertEqual(["harp call db01 ", "harp call web0"], became)

    def test_names_from_afar(self) -> None:
        """Nothing in them is run, and they are quoted."""
        self.fleet.hosts = [NASTY]
        (became,) = self.typed("harp call ")
        self.assertIn("\\$\\(touch\\ owned\\)", became)
        self.assertFalse((self.folder / "owned").exists())


class ScriptTests(CompletionCase):
    def test_every_option_is_there(self) -> None:
        """In every shell's script, with the options of its command."""
        for shell in SHELLS:
            text = script(shell, command_options())
            for command in command_options():
                self.assertIn(command.name, text)
                for option in command.options:
                    self.assertIn(option.name.removeprefix("--"), text)
            self.assertNotIn("@", text.replace('"${', "").replace("[@]", "").replace("$@", ""))

"""A daemon that says what a test wrote for it, on a real Unix socket, in a thread."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from harpcaller.wire.control import Command, decode_command

OK = b'{"result":"ok"}\n'


class ScriptedDaemon:
    """It answers each connection's one command with the next of its answers, and hangs up.

    Args:
        path: Where its socket is.
        answers: What it says; None for nothing, while the connection stays.

    Attributes:
        asked: The commands that came.
    """

    def __init__(self, path: str, *answers: bytes | None) -> None:
        self.asked: list[Command] = []
        self._answers = answers
        self._kept: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Be gone, like a daemon that was killed."""
        if self._listening.fileno() < 0:
            return
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        for connection in (*self._kept, self._listening):
            connection.close()

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection.makefile("rb") as lines:
                if line := lines.readline():  # empty if the tool hung up again
                    self.asked.append(decode_command(line))
            with suppress(OSError):  # the tool may be gone, which some tests are about
                connection.sendall(answer or b"")
            if answer is None:
                self._kept.append(connection)
            else:
                connection.close()

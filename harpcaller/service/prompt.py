"""Connections of clients on which short answers leave at once."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IListeningPort
from twisted.internet.tcp import Server


class PromptServer(Server):
    """A connection whose socket is given at once what it takes of what is written.

    Twisted keeps everything for the reactor's next turn, and has the kernel say first that the
    socket takes it: for a line that costs more than to find out what it should say.  Here only
    what the socket doesn't take goes that way, and what is written until that is gone.
    Answers to requests that were read together leave together.
    """

    _is_behind = False
    _gathered: bytes | None = None

    # Its bases declare this differently.
    def doRead(self) -> ConnectionLost | ConnectionDone | None:  # type: ignore[override]
        """Have what has come answered."""
        self._gathered = b""
        try:
            return super().doRead()
        finally:
            gathered, self._gathered = self._gathered, None
            if gathered:
                self.write(gathered)

    def startWriting(self) -> None:
        """Something is to be done when the socket takes more: Twisted's own affair until then."""
        self._is_behind = True
        super().startWriting()

    def stopWriting(self) -> None:
        """All is done."""
        self._is_behind = False
        super().stopWriting()

    def write(self, data: bytes) -> None:
        """Write what the socket takes now, or when all has been read that came, the rest later."""
        if self._gathered is not None:
            self._gathered += data
            return
        if self.connected and not (self._is_behind or self.TLS):
            try:
                sent = self.socket.send(data)
            except OSError:
                sent = 0  # it is full, or Twisted meets the error again when it writes the rest
            data = data[sent:]
        if data:
            super().write(data)


def be_prompt(port: IListeningPort) -> IListeningPort:
    """Have the connections that come by a port be such, and give it back."""
    # Twisted has no argument for it, but an attribute of the class that an instance may replace.
    vars(port)["transport"] = PromptServer
    return port

"""An agent that costs next to nothing: a process of its own, OpenSSL and a pool of threads.

``python -m benchmarks.stub CERTIFICATE KEY [keep]`` prints its port, then answers every call at
once, but for the procedure ``hold``, which lasts until its connection is closed.  With ``keep`` a
connection stays for the next call.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading

CLOSING = b'{"harp":1,"stream_result":false}\n'
KEEPING = b'{"harp":1,"stream_result":false,"keep":true}\n'
ANSWER = b'{"result":{"ok":true}}\n'
#: More than are called from at once, kept connections of others included.
THREADS = 256


def serve(listening: socket.socket, context: ssl.SSLContext, acknowledgement: bytes) -> None:
    """Answer one connection after the other."""
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            while answer(tls, acknowledgement):
                pass


def answer(tls: ssl.SSLSocket, acknowledgement: bytes) -> bool:
    """Read one request and do what it says; tells whether there may be another."""
    request = b""
    while not request.endswith(b"\n"):
        piece = tls.recv(65536)
        if not piece:
            return False
        request += piece
    if b'"hold"' in request:
        tls.sendall(CLOSING)
        tls.recv(1)
        return False
    tls.sendall(acknowledgement + ANSWER)
    if acknowledgement is KEEPING:
        return True
    tls.unwrap().close()
    return False


def main() -> None:
    """Listen, say where, serve until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    given = listening, context, KEEPING if "keep" in sys.argv[3:] else CLOSING
    for _ in range(THREADS):
        threading.Thread(target=serve, args=given, daemon=True).start()
    print(listening.getsockname()[1], flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()

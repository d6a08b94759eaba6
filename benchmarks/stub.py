"""An agent that costs next to nothing: a process of its own, OpenSSL and a pool of threads.

``python -m benchmarks.stub CERTIFICATE KEY`` prints its port, then answers every call at
once, but for the procedure ``hold``, which lasts until its connection is closed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading

ACKNOWLEDGEMENT = b'{"harp":1,"stream_result":false}\n'
ANSWER = b'{"result":{"ok":true}}\n'
THREADS = 64


def serve(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Answer one connection after the other."""
    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
            answer(tls)


def answer(tls: ssl.SSLSocket) -> None:
    """Read one request and do what it says."""
    request = b""
    while not request.endswith(b"\n"):
        piece = tls.recv(65536)
        if not piece:
            return
        request += piece
    if b'"hold"' in request:
        tls.sendall(ACKNOWLEDGEMENT)
        tls.recv(1)
    else:
        tls.sendall(ACKNOWLEDGEMENT + ANSWER)
        tls.unwrap().close()


def main() -> None:
    """Listen, say where, serve until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    for _ in range(THREADS):
        threading.Thread(target=serve, args=(listening, context), daemon=True).start()
    print(listening.getsockname()[1], flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()

"""An agent whose calls stream, or last: a process of its own, asyncio and OpenSSL.

``python -m benchmarks.streamer CERTIFICATE KEY`` prints its port.  The procedure ``stream`` gives
as many records as its first argument says, at once, and so many in a write as its second says;
``idle`` gives one and lasts until its connection is closed, which many thousands may do side by
side; ``hold`` only lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import ssl
import sys

ACKNOWLEDGEMENT = b'{"harp":1,"stream_result":%s}\n'
RECORD = b'{"stream":{"line":%d,"text":"what a log says, more or less"}}\n'
RESULT = b'{"result":null}\n'


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's call."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        request = json.loads(await reader.readuntil(b"\n"))
        writer.write(ACKNOWLEDGEMENT % (b"false" if request["procedure"] == "hold" else b"true"))
        if request["procedure"] == "stream":
            await stream(writer, *request["arguments"])
            writer.write(RESULT)
        elif request["procedure"] == "idle":
            writer.write(RECORD % 0)
        await writer.drain()
        if request["procedure"] != "stream":
            await reader.read(1)
    writer.close()


async def stream(writer: asyncio.StreamWriter, count: int, together: int) -> None:
    """Say so many records."""
    for begin in range(0, count, together):
        end = min(count, begin + together)
        writer.write(b"".join(RECORD % number for number in range(begin, end)))
        await writer.drain()


async def run(certificate: str, key: str) -> None:
    """Listen, say where, serve until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve with as many descriptors as there may be."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(run(*sys.argv[1:]))


if __name__ == "__main__":
    main()

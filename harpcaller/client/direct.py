"""The blocking face of an agent: a call waits for its end."""

from __future__ import annotations

from typing import Any

from harpcaller.client.agents import Agent
from harpcaller.client.asking import finished
from harpcaller.client.blocking import ValueIterator
from harpcaller.client.channel import Channel, open_socket, shown_address
from harpcaller.client.hosts import Procedure, Procedures
from harpcaller.client.streams import AgentItems, ValueStream
from harpcaller.client.tls import secured, tls_context
from harpcaller.wire.agent import DEFAULT_PORT, Credentials


class HarpStreamIterator(ValueIterator):
    """What a streaming procedure says; the last item is a :class:`Result`.

    Errors, the procedure's own exception among them, are raised from it.  Closing it before the
    end cancels the call; so does the end of a ``with`` block, and of the iterator's life.
    """


class HarpProcedure(Procedure[Any]):
    """A procedure of an agent; calling it waits for its end, or gives its stream."""


class HarpServer(Procedures[HarpProcedure]):
    """An agent: its attributes are its procedures, and calling one waits for its end.

    ::

        server = harp.HarpServer("10.8.16.22", "user", "password", ca_file="ca.pem")
        print(server.uptime())

    A call gives what the procedure returns; or, if it streams, a :class:`HarpStreamIterator`.
    It raises :class:`RemoteException` if the procedure raised, :class:`RemoteError` if the agent
    couldn't run it, :class:`CommunicationError` if the agent can't be reached or the connection
    broke, and :class:`HarpException` if the arguments can't be written as a request.

    Args:
        host: Its name or address.
        user: Who calls.
        password: That user's password.
        port: The agent's TCP port.
        ca_file: PEM file of the authorities one of which must have signed the agent's
            certificate.  **Without it any certificate will do, and whoever sits between reads
            the password.**
        verify_hostname: The certificate must also name ``host``; needs ``ca_file``.
        connect_timeout: Seconds that each of the host's addresses is tried, and the
            handshake may take, or None.
        read_timeout: The longest silence of the agent in seconds, or None for any.

    Raises:
        HarpException: ``ca_file`` can't be read.
    """

    def __init__(
        self,
        host: str,
        user: str,
        password: str,
        port: int = DEFAULT_PORT,
        ca_file: str | None = None,
        *,
        verify_hostname: bool = False,
        connect_timeout: float | None = 10.0,
        read_timeout: float | None = None,
    ) -> None:
        address = shown_address(host, port)
        tls = tls_context(ca_file, verify_hostname)

        async def connect() -> Channel:
            plain = open_socket(host, port, connect_timeout)
            return Channel(secured(plain, tls, host, address), address, read_timeout)

        agent = Agent(address, Credentials(user, password), connect)

        def procedure(name: str) -> HarpProcedure:
            def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                given = finished(agent.call(name, args, kwargs))
                if isinstance(given, AgentItems):
                    return HarpStreamIterator(ValueStream(given))
                return given

            return HarpProcedure(call, f"{address}:{name}")

        super().__init__(procedure, address)

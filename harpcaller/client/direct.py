"""Calling an agent without a dispatcher between: no job, no queue, only the call.

The TLS library is imported when the first :class:`HarpServer` is made, because most programs
make none and it takes longer to load than the rest of this package.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Iterator

from harpcaller.client.channel import Channel, open_socket, shown_address, why
from harpcaller.client.exceptions import CommunicationError, HarpException
from harpcaller.client.exchange import AgentExchange
from harpcaller.client.translation import python_value, raw_arguments, result_or_raise
from harpcaller.wire.agent import (
    DEFAULT_PORT,
    Acknowledged,
    Credentials,
    Message,
    ProcedureCall,
    Said,
)

if TYPE_CHECKING:
    import ssl


class Result:
    """What a streaming procedure returned at its end.

    Attributes:
        value: The value itself.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"harp.Result({self.value!r})"


class HarpServer:
    """An agent: its attributes are its procedures, and calling one waits for its end.

    ::

        server = harp.HarpServer("10.8.16.22", "user", "password", ca_file="ca.pem")
        print(server.uptime())

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
        self._host = host
        self._port = port
        self._credentials = Credentials(user, password)
        self._tls = _tls_context(ca_file, verify_hostname)
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout

    def __getattr__(self, name: str) -> HarpProcedure:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> HarpProcedure:
        return HarpProcedure(self, name)

    def __repr__(self) -> str:
        return f"<harp.HarpServer {shown_address(self._host, self._port)}>"

    def _connect(self) -> Channel:
        """Open a connection with its TLS handshake done."""
        address = shown_address(self._host, self._port)
        plain = open_socket(self._host, self._port, self._connect_timeout)
        try:
            secured = self._tls.wrap_socket(plain, server_hostname=self._host)
        except BaseException as error:
            plain.close()
            if isinstance(error, (OSError, ValueError)):
                raise CommunicationError(f"{address}: TLS: {why(error)}") from None
            raise
        return Channel(secured, address, self._read_timeout)


def _tls_context(ca_file: str | None, verify_hostname: bool) -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = verify_hostname
    if ca_file is None:
        if verify_hostname:
            raise HarpException("verify_hostname needs a ca_file")
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise HarpException(f"{ca_file}: cannot be used as a CA file: {why(error)}") from None
    return context


class HarpProcedure:
    """A procedure of an agent."""

    def __init__(self, server: HarpServer, name: str) -> None:
        self._server = server
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, with either positional or named arguments.

        Returns:
            What it returns; or, if it streams, a :class:`HarpStreamIterator`.

        Raises:
            RemoteException: The procedure raised.
            RemoteError: The agent couldn't run it.
            CommunicationError: The agent can't be reached, or the connection broke.
            HarpException: The arguments can't be written as a request.
        """
        server = self._server
        call = ProcedureCall(self._name, raw_arguments(args, kwargs), server._credentials)
        talk = _Talk(server._connect())
        try:
            first = talk.start(call)
            if isinstance(first, Acknowledged):
                if first.streaming:
                    return HarpStreamIterator(talk)
                first = talk.next_message()
        except BaseException:
            talk.close()
            raise
        talk.close()
        return _ended(first)

    def __repr__(self) -> str:
        server = self._server
        return f"<harp.HarpProcedure {shown_address(server._host, server._port)}:{self._name}>"


class HarpStreamIterator:
    """What a streaming procedure says; the last item is a :class:`Result`.

    Errors, the procedure's own exception among them, are raised from it.  Closing it before the
    end cancels the call; so does the end of a ``with`` block, and of the iterator's life.
    """

    def __init__(self, talk: _Talk) -> None:
        self._talk = talk
        self._over = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Wait for the next record, or for the :class:`Result`.

        Raises:
            RemoteException: The procedure raised.
            RemoteError: The agent couldn't run it to its end.
            CommunicationError: The connection broke.
        """
        if self._over:
            raise StopIteration
        try:
            message = self._talk.next_message()
            if isinstance(message, Said):
                return python_value(message.data)
        except BaseException:
            self.close()
            raise
        self.close()
        return Result(_ended(message))

    def close(self) -> None:
        """Want no more; a call that still runs is cancelled."""
        self._over = True
        self._talk.close()

    def __enter__(self) -> HarpStreamIterator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Talk:
    """A channel to an agent with the exchange on it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._exchange = AgentExchange()

    def start(self, call: ProcedureCall) -> Message:
        """Send the request and wait for the acknowledgement or an error."""
        self._channel.send(self._exchange.ask(call))
        return self.next_message()

    def next_message(self) -> Message:
        """Wait for the agent's next message."""
        self._channel.must_be_ours()
        while True:
            try:
                message = self._exchange.next_message()
            except CommunicationError as error:
                raise self._channel.error(error) from None
            if message is not None:
                return message
            data = self._channel.receive()
            if not data:
                raise self._channel.error(self._exchange.closed())
            self._exchange.feed(data)

    def close(self) -> None:
        self._channel.close()


def _ended(message: Message) -> Any:
    """Give the value of an ending, or raise what it tells."""
    assert not isinstance(message, (Acknowledged, Said)), "the conversation lets none through"
    return result_or_raise(message)

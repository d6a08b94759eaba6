"""Calling an agent without a dispatcher between, as a coroutine: no job, no queue, the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Coroutine

from harpcaller.client.asking import Channel, hear
from harpcaller.client.exchange import AgentExchange
from harpcaller.client.streams import AgentItems, ended
from harpcaller.client.translation import raw_arguments
from harpcaller.wire.agent import Acknowledged, Credentials, ProcedureCall


@dataclass(frozen=True)
class Agent:
    """How an agent is reached and who calls it.

    Attributes:
        address: What is shown as its address.
        credentials: Who calls.
        open_channel: Connects, with the TLS handshake done; raises CommunicationError.
    """

    address: str
    credentials: Credentials
    open_channel: Callable[[], Coroutine[Any, Any, Channel]]

    async def call(self, procedure: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a procedure, with either positional or named arguments.

        Returns:
            What it returns; or, if it streams, an :class:`AgentItems`, its caller's to close.

        Raises:
            RemoteException: The procedure raised.
            RemoteError: The agent couldn't run it.
            CommunicationError: The agent can't be reached, or the connection broke.
            HarpException: The arguments can't be written as a request.
        """
        call = ProcedureCall(procedure, raw_arguments(args, kwargs), self.credentials)
        exchange = AgentExchange()
        channel = await self.open_channel()
        try:
            await channel.send(exchange.ask(call))
            message = await hear(channel, exchange)
            if isinstance(message, Acknowledged):
                if message.streaming:
                    return AgentItems(channel, exchange)
                message = await hear(channel, exchange)
        except BaseException:
            channel.close()
            raise
        channel.close()
        return ended(message)

"""AMP on the control socket: a thin codec over the table of commands.

For every entry of the table there is an ``amp.Command`` in :data:`AMP_COMMANDS`, made from
the command's own fields.  Errors have their wire types as codes, and come out of
``callRemote`` as the classes that :data:`ERRORS` names.

An AMP value ends at 65,535 bytes, so lists are given in pages: ``items`` (the JSON texts
that the JSON lines would have) and a ``cursor``, empty at the list's end, with which
:class:`ListMore` gives the next page.  A list lives on its connection, and of those that
are open there only the :data:`OPEN_LISTS` youngest.  An item that wouldn't fit has its long
fields replaced, see :func:`~harpcaller.wire.control_answers.encode_short_item`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import fields
from functools import partial
from itertools import count
from typing import Any, ClassVar, get_type_hints

import attrs
from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.python.failure import Failure

from harpcaller.control.commands import TABLE, Listing, Seams, Single, answerable, begin, carry_out
from harpcaller.control.flow import Outlet
from harpcaller.errors import BY_WIRE_TYPE, InvalidRequest, WireError
from harpcaller.logs.events import EventLog, forget
from harpcaller.wire.client import JobId
from harpcaller.wire.control import (
    COMMANDS,
    Command,
    CommandFailed,
    ConfigRejected,
    InternalError,
    NotAvailable,
    QueueName,
    fields_of,
    from_members,
)
from harpcaller.wire.control_answers import Item, encode_item, encode_short_item
from harpcaller.wire.values import FALSE, TRUE, NotJSON, Raw, check, encode

#: How many lists a connection may have open.
OPEN_LISTS = 16
#: How many items a page holds at most.
PAGE_ITEMS = 100
#: How many keys a box may have; no command needs as many.
MAX_KEYS = 8
#: How many commands may wait on a connection before it isn't read any more.
MAX_WAITING = 16

#: What ``callRemote`` can fail with, beside what AMP itself knows.
ERRORS: dict[type[Exception], bytes] = {
    error: wire_type.encode("ascii") for wire_type, error in BY_WIRE_TYPE.items()
}
for _error in (CommandFailed, ConfigRejected, NotAvailable, InternalError):
    ERRORS[_error] = _error.wire_type.encode("ascii")

_ARGUMENTS: Mapping[object, type[amp.Argument]] = {
    bool: amp.Boolean,
    float: amp.Float,
    JobId: amp.Unicode,
    QueueName: amp.String,
}
_RESULTS: Mapping[object, type[amp.Argument]] = {
    int: amp.Integer,
    bool: amp.Boolean,
    str: amp.Unicode,
}
_BOOLEANS: Mapping[bytes, Raw] = {b"True": TRUE, b"False": FALSE}
_PAGE: list[tuple[bytes, amp.Argument]] = [
    (b"items", amp.ListOf(amp.String())),
    (b"cursor", amp.Unicode()),
]

_log = EventLog("control")


def _amp_command(command: type[Command], entry: Single | Listing) -> type[amp.Command]:
    response = _PAGE
    if isinstance(entry, Single):
        kinds = get_type_hints(entry.answer)
        response = [
            (field.name.encode("ascii"), _RESULTS[kinds[field.name]]())
            for field in fields(entry.answer)
        ]
    namespace = {
        "__doc__": command.__doc__,
        "commandName": command.command.encode("ascii"),
        "arguments": [
            (field.name.encode("ascii"), _ARGUMENTS[field.kind](optional=not field.required))
            for field in fields_of(command)
        ],
        "response": response,
        "errors": ERRORS,
    }
    return type(command.__name__, (amp.Command,), namespace)


#: For ``callRemote``, every command of the table.
AMP_COMMANDS: Mapping[type[Command], type[amp.Command]] = {
    command: _amp_command(command, entry) for command, entry in TABLE.items()
}


class ListMore(amp.Command):
    """Give the next page of a list that is open on this connection."""

    commandName = b"list_more"  # noqa: N815  # as AMP has it
    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"cursor", amp.Unicode())]
    response = _PAGE
    errors = ERRORS


@attrs.define
class OpenList:
    """A list that was begun.

    Attributes:
        items: The rest of it.
        held: An item that the last page had no room for.
    """

    items: AsyncGenerator[Item, None]
    held: bytes | None = None

    async def page(self) -> tuple[list[bytes], bool]:
        """Give as many items as fit into an AMP value, and whether that is the end."""
        taken: list[bytes] = []
        size = 0
        while len(taken) < PAGE_ITEMS:
            text = self.held or await self._next()
            self.held = None
            if text is None:
                return taken, True
            size += 2 + len(text)
            if size > amp.MAX_VALUE_LENGTH:
                self.held = text
                break
            taken.append(text)
        return taken, False

    async def _next(self) -> bytes | None:
        item = await anext(self.items, None)
        if item is None:
            return None
        text = encode_item(item)
        return text if 2 + len(text) <= amp.MAX_VALUE_LENGTH else encode_short_item(item)


@attrs.frozen
class _Waiting:
    """A command that came, and the one who wants to know how it went."""

    name: str
    box: amp.AmpBox
    answer: Deferred[amp.AmpBox]


class AmpFace(amp.AMP):
    """One connection that speaks AMP; its commands are done one after the other.

    Args:
        seams: Whom the commands ask.
        outlet: Tells whether there is room for answers.
    """

    def __init__(self, seams: Seams, outlet: Outlet) -> None:
        super().__init__()
        self._seams = seams
        self._outlet = outlet
        self._waiting: deque[_Waiting] = deque()
        self._serving = False
        self._current: Deferred[amp.AmpBox] | None = None
        self._for_the_asker = False
        self._lists: dict[str, OpenList] = {}
        self._cursors = count(1)
        self._keys = 0

    # What the server tells a face

    def received(self, data: bytes) -> None:
        """Take bytes as they came."""
        self.dataReceived(data)

    def ended(self) -> None:
        """Take note that the client says no more; AMP has no use for half a connection."""
        self._outlet.close()

    def lost(self, reason: Failure) -> None:
        """Take note that the client is gone, and stop what was for it alone."""
        self._outlet.lost()
        self._waiting.clear()
        self._lists.clear()
        if self._current is not None and self._for_the_asker:
            self._current.cancel()
        self.connectionLost(reason)

    # What AMP asks of us

    def proto_init(self, string: bytes) -> Any:
        """Begin a box."""
        self._keys = 0
        return super().proto_init(string)

    def proto_value(self, string: bytes) -> Any:
        """Go on with a box, unless it has no end."""
        self._keys += 1
        if self._keys > MAX_KEYS + 2:  # two are AMP's own
            self._breach("a box with too many keys")
            return "done"
        return super().proto_value(string)

    def proto_done(self, string: bytes) -> str:
        """Pass over what came after a breach."""
        return "done"

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """Take a command; nothing was asked of the client that it could answer."""
        if amp.COMMAND not in box or amp.ASK not in box or amp.ANSWER in box or amp.ERROR in box:
            self._breach("a box that is no command, or wants no answer, or is one")
        elif len(box[amp.COMMAND]) > amp.MAX_KEY_LENGTH:
            self._breach("a command's name too long to be quoted")
        else:
            super().ampBoxReceived(box)

    def locateResponder(self, name: bytes) -> Callable[[amp.AmpBox], Deferred[amp.AmpBox]] | None:
        """Find a command by its name; AMP says for itself that it isn't known."""
        known = name.decode("utf-8", "replace")
        if known in COMMANDS or name == ListMore.commandName:
            return partial(self._enqueue, known)
        return None

    def _breach(self, what: str) -> None:
        _log.warn("control.amp_breach", reason=what)
        self._outlet.abort()

    # One after the other

    def _enqueue(self, name: str, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        waiting = _Waiting(name, box, Deferred())
        self._waiting.append(waiting)
        self._outlet.crowded(len(self._waiting) > MAX_WAITING)
        if not self._serving:
            self._serving = True
            forget(Deferred.fromCoroutine(self._serve()), _log, "control.bug")
        return waiting.answer

    async def _serve(self) -> None:
        try:
            while self._waiting and not self._outlet.gone:
                await self._outlet.room()
                waiting = self._waiting.popleft()
                self._outlet.crowded(len(self._waiting) > MAX_WAITING)
                self._current = Deferred.fromCoroutine(self._respond(waiting.name, waiting.box))
                try:
                    answer = await self._current
                except amp.RemoteAmpError as error:
                    waiting.answer.errback(error)
                else:
                    waiting.answer.callback(answer)
        finally:
            self._serving = False
            self._current = None

    async def _respond(self, name: str, box: amp.AmpBox) -> amp.AmpBox:
        try:
            if name not in COMMANDS:
                self._for_the_asker = True
                return await self._list_more(box)
            command = from_members(COMMANDS[name], _members(COMMANDS[name], box))
            entry = TABLE[type(command)]
            self._for_the_asker = entry.for_the_asker
            if isinstance(entry, Listing):
                return await self._page(OpenList(begin(self._seams, entry, command)), name)
            answer = await carry_out(self._seams, entry, command)
            values = {field.name: getattr(answer, field.name) for field in fields(answer)}
            return self._box(AMP_COMMANDS[type(command)], values)
        except WireError as error:
            # A key of the box may be quoted in it, but a page of problems must fit, too.
            text = error.message.encode("utf-8", "replace")[: amp.MAX_VALUE_LENGTH]
            described = text.decode("utf-8", "ignore")
            raise amp.RemoteAmpError(error.wire_type.encode("ascii"), described) from None

    async def _list_more(self, box: amp.AmpBox) -> amp.AmpBox:
        cursor = box.get(b"cursor", b"").decode("utf-8", "replace")
        if cursor not in self._lists:
            raise InvalidRequest("cursor: no such list is open on this connection")
        return await self._page(self._lists.pop(cursor), "list_more")

    async def _page(self, open_list: OpenList, what: str) -> amp.AmpBox:
        items, ended = await answerable(open_list.page(), what)
        cursor = ""
        if not ended:
            cursor = str(next(self._cursors))
            self._lists[cursor] = open_list
            if len(self._lists) > OPEN_LISTS:
                del self._lists[next(iter(self._lists))]
        return self._box(ListMore, {"items": items, "cursor": cursor})

    def _box(self, command: type[amp.Command], values: dict[str, Any]) -> amp.AmpBox:
        box: amp.AmpBox = command.makeResponse(values, self)
        return box


def _members(command: type[Command], box: amp.AmpBox) -> dict[str, Raw]:
    """Read a box's values as the JSON values that they stand for, to be checked like those.

    Raises:
        InvalidRequest: One can't be read at all.
    """
    kinds = {field.name: field.kind for field in fields_of(command)}
    found: dict[str, Raw] = {}
    for key, value in box.items():
        name = key.decode("utf-8", "replace")
        if name.startswith("_"):
            continue
        try:
            kind = kinds.get(name)
            if kind is bool:
                if value not in _BOOLEANS:
                    raise NotJSON("expected True or False")
                found[name] = _BOOLEANS[value]
            elif kind is JobId:
                found[name] = encode(value.decode("utf-8"))
            else:
                found[name] = check(value)
        except (NotJSON, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{name}: {error}") from None
    return found

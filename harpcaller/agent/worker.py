"""One call's process, between its fork and its end.

It becomes a session of its own, puts signals back to what programs expect, becomes the
user asked for, runs the procedure and writes what the caller is to hear to its socket.
It never returns: the process ends here.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
import traceback

# The public one makes enumeration members of the signals, which is 3 % of a short call.
from _signal import pthread_sigmask  # type: ignore[import-not-found]
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn

from harpcaller.agent import keeper
from harpcaller.agent.accounts import NoAccount, become, find
from harpcaller.agent.proc import Account, CallInfo, Procedure, Result, StreamingProcedure
from harpcaller.agent.procedures import Procedures
from harpcaller.agent.signature import Parameters
from harpcaller.errors import InvalidMessage, SystemUnable, WireError
from harpcaller.wire.agent import MAX_MESSAGE_SIZE, Message, Said, encode_message
from harpcaller.wire.ending import Ending, Failed, Raised, Returned
from harpcaller.wire.values import NULL, NotJSON, Raw, decode, encode

#: How much of an exception's message a caller is told, in characters.
MAX_EXCEPTION_MESSAGE = 64 * 1024
#: How much likelier a call is killed for want of memory, in thousandths of all memory.
_OOM_SCORE = 200
_ALL_SIGNALS = signal.valid_signals()
#: How often a call is rehearsed; the interpreter fits code that has run eight times.
_REHEARSALS = 20
_REHEARSED = (
    b'{"procedure":"rehearsal","arguments":[],"call":{"user":"nobody","peer":"::1","id":0}}\n'
)


@dataclass(frozen=True)
class Terms:
    """What a call's process has to keep to, whatever its procedure is.

    Args:
        uid: The user of a procedure that asks for none; None is the agent's own.
        gid: Its group, likewise.
        memory: How many bytes each process of the call may have; None is all there is, or
            what its control group allows.
        keeper: The process with which it is to die; None if it has no keeper.
    """

    uid: Account | None = None
    gid: Account | None = None
    memory: int | None = None
    keeper: int | None = None


def run(
    procedures: Procedures,
    call_socket: int,
    output: int,
    terms: Terms,
) -> NoReturn:
    """Be the process of one call.

    Args:
        procedures: What can be called.
        call_socket: The descriptor to read the request from and to answer on.
        output: The descriptor for what is printed.
        terms: What it has to keep to.
    """
    code = 1
    try:
        os.setsid()
        _go_first_when_memory_is_short()
        for printed in (1, 2):
            os.dup2(output, printed)
        os.close(output)
        # It isn't closed: the process's end does that for less.
        connection = socket.socket(fileno=call_socket)
        _serve(procedures, connection, terms)
        code = 0
    except (BrokenPipeError, ConnectionResetError):
        pass  # nobody listens any more, so that whatever is left of the call has to end
    except BaseException:  # noqa: BLE001 - a bug of ours, told in the agent's log
        traceback.print_exc()
    finally:
        _flush()
        # No interpreter's end: exit functions are the template's, and run there.
        os._exit(code)


def rehearse() -> None:
    """Do what each worker will do, as often as it takes until the interpreter is used to it.

    It remembers where it found what, and fits its code to what that works on, each time in
    memory that a worker would have to itself: a tenth of what that costs.
    """
    procedures = Procedures({"rehearsal": Procedure(lambda: {"it": "works"})})
    for _ in range(_REHEARSALS):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(_REHEARSED)
            _serve(procedures, theirs, Terms())


def _serve(procedures: Procedures, connection: socket.socket, terms: Terms) -> None:
    """Read what to run, run it, and answer."""
    request = _request(connection)
    if request is not None:
        name, arguments, info = request
        mouth = Mouth(connection)
        procedure, parameters = procedures.by_name[name], procedures.parameters[name]
        ending = called(procedure, parameters, arguments, info, mouth, terms)
        _flush()
        mouth.say(ending)


def _go_first_when_memory_is_short() -> None:
    """Let the system kill this process before others, above all before the agent."""
    with suppress(OSError, ValueError):
        with open("/proc/self/oom_score_adj", "rb+", buffering=0) as stream:
            if int(stream.read(32)) < _OOM_SCORE:
                stream.write(b"%d" % _OOM_SCORE)


def _request(connection: socket.socket) -> tuple[str, object, CallInfo] | None:
    """Read what to run, as soon as it may; None if the server gave the call up."""
    line = bytearray()
    while not line.endswith(b"\n"):  # nothing comes after it
        data = connection.recv(65536)
        if not data:
            return None
        line += data
    wanted = decode(bytes(line))
    return wanted["procedure"], wanted["arguments"], CallInfo(**wanted["call"])


def called(
    procedure: Procedure,
    parameters: Parameters,
    arguments: object,
    info: CallInfo,
    mouth: Mouth,
    terms: Terms,
) -> Ending:
    """Run the procedure; tells how it ended."""
    try:
        _become(procedure, terms.uid, terms.gid)
    except NoAccount as error:
        return Failed.because(SystemUnable(str(error)))
    _keep_to(terms)
    try:
        positional, named = parameters.bind(arguments, info)
        value = procedure(*positional, **named)
        if isinstance(procedure, StreamingProcedure):
            value = _stream(value, mouth)
        if isinstance(value, Result):
            value = value.value
    except _NobodyListens as trouble:
        raise trouble.error from None
    except _NotSent as trouble:
        return Failed.because(trouble.error)
    except BaseException as error:  # noqa: BLE001 - whatever users' code raises is an answer
        return _raised(error)
    try:
        return Returned(_written(value, "the result"))
    except _NotSent as trouble:
        return Failed.because(trouble.error)


def _become(procedure: Procedure, uid: Account | None, gid: Account | None) -> None:
    if procedure.uid is not None:
        identity = find(procedure.uid, procedure.gid)
    else:
        identity = find(uid, gid if procedure.gid is None else procedure.gid)
    if identity is not None:
        become(identity)


def _keep_to(terms: Terms) -> None:
    if terms.keeper is not None:
        keeper.die_with(terms.keeper)  # becoming another user undoes this
    if terms.memory is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        memory = terms.memory if hard == resource.RLIM_INFINITY else min(terms.memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


class _NotSent(Exception):
    """A value can't be written as a message."""

    def __init__(self, error: WireError) -> None:
        super().__init__(error.message)
        self.error = error


class _NobodyListens(Exception):
    """Told apart from a broken pipe of the procedure's own."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _stream(items: object, mouth: Mouth) -> object:
    """Send items as they come; gives the end result."""
    try:
        for item in items:  # type: ignore[attr-defined]  # whatever the user's code returned
            if isinstance(item, Result):
                return item
            record = _written(item, "a record")
            try:
                mouth.say(Said(record))
            except (BrokenPipeError, ConnectionResetError) as error:
                raise _NobodyListens(error) from None
        return None
    finally:
        close = getattr(items, "close", None)
        if callable(close):
            close()


class Mouth:
    """Writes messages to the server, whole ones whatever happens.

    A signal's function in the procedure may raise at any moment, also while a message is
    half sent.  So sending itself can't be interrupted and never waits; waiting can be
    interrupted; and what is left of a message goes out before the next.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def say(self, message: Message) -> None:
        """Send a message, waiting as long as the server takes no more.

        Raises:
            BrokenPipeError: The server listens no more.
            ConnectionResetError: Likewise.
        """
        self._rest += encode_message(message)
        while self._rest:
            if not self._send():
                self._wait()

    def _send(self) -> bool:
        """Send some; tells whether any could be sent."""
        before = pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            sent = self._connection.send(self._rest, socket.MSG_DONTWAIT)
            self._rest = self._rest[sent:]
        except BlockingIOError:
            return False
        finally:
            pthread_sigmask(signal.SIG_SETMASK, before)
        return True

    def _wait(self) -> None:
        poller = select.poll()
        poller.register(self._connection, select.POLLOUT)
        poller.poll()


def _written(value: object, what: str) -> Raw:
    if value is None:
        return NULL
    try:
        raw = encode(value)
    except NotJSON as error:
        raise _NotSent(InvalidMessage(f"{what} can't be written as JSON: {error}")) from None
    if len(raw) > MAX_MESSAGE_SIZE - 1024:
        raise _NotSent(
            InvalidMessage(f"{what} takes {len(raw)} bytes, more than a caller would read")
        )
    return raw


def _raised(error: BaseException) -> Raised:
    kind = type(error)
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename in _OUR_FILES:
        own = own.tb_next
    _print(error, own)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - __str__ is users' code too
        message = "(its message can't be had)"
    # Half a surrogate pair would not be taken by the caller.
    message = message[:MAX_EXCEPTION_MESSAGE].encode("utf-8", "backslashreplace").decode("utf-8")
    data = encode({"class": kind.__qualname__, "module": kind.__module__})
    return Raised(kind.__name__, message, data)


_OUR_FILES = (__file__, sys.modules[Procedure.__module__].__file__)


def _print(error: BaseException, where: TracebackType | None) -> None:
    """Show the traceback in the agent's log, as printed output of the procedure."""
    try:
        traceback.print_exception(type(error), error, where)
    except Exception:  # noqa: BLE001 - sys.stderr may be closed or replaced by then
        return


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # users' code may have closed or replaced it
            stream.flush()

"""All that network process and monitor can say to each other, and how it is written.  Pure.

::

    control socket      network process -> monitor     monitor -> network process
                        R Ready                        T Terms
                        L Listening                    C Confine
                        O Opened, with a descriptor    S Sockets, with descriptors
                        N Noted                        E Leave
    channel             A Authenticate                 K Known
                        C Call                         R Refused
                        T Attach                       A Taken
                        L List                         D Said
                        E Cancel                       S SaidAll
                        G GiveUp                       F Finished
                                                       C Closed

A message is its letter, the length of what follows in four bytes, and its fields in their order,
each behind its length in four bytes.  A letter that isn't in the table, a length beyond what its
row allows, a field too few or too many, a text that isn't UTF-8, arguments that aren't JSON: all of
it is :class:`NotInTable`, which ends the process that said it.
"""

from __future__ import annotations

import attrs

from harpcaller.agent.separation.frames import (
    ARGUMENTS,
    FLAG,
    JOB,
    LEVEL,
    NUMBER,
    OPTIONAL_JOB,
    OPTIONAL_SECONDS,
    PEER,
    Table,
    data,
    json_value,
    text,
)
from harpcaller.agent.separation.frames import NotInTable as NotInTable
from harpcaller.wire.agent import MAX_REQUEST_SIZE
from harpcaller.wire.client import JobId
from harpcaller.wire.values import Raw

#: The most that one :class:`Said` carries, in bytes; more goes into several.
MOST_SAID = 256 * 1024
#: The longest certificates or key, as PEM, in bytes.
MAX_PEM = 8 * 1024 * 1024
#: The longest context of a note, in bytes.
MAX_NOTE = 32 * 1024

# --- The control socket, to the monitor -----------------------------------------------------------


@attrs.frozen
class Ready:
    """Where the monitor wanted it, the network process has lost its rights.

    Args:
        confinement: What became of that, in words for the log.
    """

    confinement: str


@attrs.frozen
class Listening:
    """It listens on a socket that it was sent."""


@attrs.frozen
class Opened:
    """A channel was made, whose other end comes along."""


@attrs.frozen
class Noted:
    """Something is to be logged.

    Args:
        level: One of :data:`~harpcaller.agent.separation.frames.LEVELS`.
        kind: The event's.
        context: A JSON object.
    """

    level: str
    kind: str
    context: Raw


# --- The control socket, from the monitor ---------------------------------------------------------


@attrs.frozen
class Terms:
    """How strangers are met, from now on.

    Args:
        certificate: With what it is signed by, as PEM.
        key: Its private key, likewise.
        client_ca: Whoever signs callers' certificates, likewise; empty if they need none.
        request_milliseconds: How long a connection may take until its user is known.
        are_kept: Whether calls may outlive their connections.
        idle_milliseconds: How long a connection may wait for its next request; 0 keeps none.
        most_idle: How many may wait so.
    """

    certificate: bytes
    key: bytes = attrs.field(repr=False)
    client_ca: bytes
    request_milliseconds: int
    are_kept: bool
    idle_milliseconds: int
    most_idle: int


@attrs.frozen
class Confine:
    """Lose all rights that aren't needed.

    Args:
        changes: Whether to become another user, in an empty folder; otherwise only what anybody can
            give up is given up.
        uid: The user.
        gid: The only group.
    """

    changes: bool
    uid: int
    gid: int


@attrs.frozen
class Listen:
    """Listen on this socket, which comes along."""


@attrs.frozen
class Leave:
    """Listen no more, and end when there are no connections."""


# --- A channel, to the monitor --------------------------------------------------------------------


@attrs.frozen
class Authenticate:
    """Somebody says who he is."""

    user: str
    password: str = attrs.field(repr=False)
    peer: str


@attrs.frozen
class Call:
    """He wants this procedure to be run.

    Args:
        procedure: Its name.
        arguments: What it is given.
        job: Names a call that can be resumed.
        again: How many seconds ago he may have asked for the same, at most.
    """

    procedure: str
    arguments: Raw
    job: JobId | None
    again: float | None


@attrs.frozen
class Attach:
    """He wants to go on with a call of his."""

    job: JobId
    since: int


@attrs.frozen
class List:
    """He wants to know which procedures there are."""


@attrs.frozen
class Cancel:
    """He wants a call of his to end, or to be forgotten."""

    job: JobId


@attrs.frozen
class GiveUp:
    """He wants no more of the call that this channel is about."""


# --- A channel, from the monitor ------------------------------------------------------------------


@attrs.frozen
class Known:
    """He is who he says."""


@attrs.frozen
class Refused:
    """He isn't, and this is what he is told."""

    message: str


@attrs.frozen
class Taken:
    """His call is taken; ``streaming`` tells whether records may follow."""

    streaming: bool


@attrs.frozen
class Said:
    """Tell him this, which is part of whole lines."""

    data: bytes


@attrs.frozen
class SaidAll:
    """That was the last line; he has some time to say that it is safe."""


@attrs.frozen
class Finished:
    """That was the answer; whether the connection stays isn't the monitor's business."""


@attrs.frozen
class Closed:
    """No more comes, and nobody is to wait for it.

    A channel that is closed without one of these two was cut off.
    """


ToMonitor = Ready | Listening | Opened | Noted
ToNetwork = Terms | Confine | Listen | Leave
Asked = Authenticate | Call | Attach | List | Cancel | GiveUp
Answered = Known | Refused | Taken | Said | SaidAll | Finished | Closed

# --- The tables -----------------------------------------------------------------------------------

# A request's texts and arguments are together no longer than the request.
_NAME = text(MAX_REQUEST_SIZE)

TO_MONITOR: Table[ToMonitor] = Table(
    {
        b"R": (Ready, (text(1024),)),
        b"L": (Listening, ()),
        b"O": (Opened, ()),
        b"N": (Noted, (LEVEL, text(64), json_value(MAX_NOTE))),
    },
    MAX_NOTE + 256,
)
TO_NETWORK: Table[ToNetwork] = Table(
    {
        b"T": (Terms, (data(MAX_PEM), data(MAX_PEM), data(MAX_PEM), NUMBER, FLAG, NUMBER, NUMBER)),
        b"C": (Confine, (FLAG, NUMBER, NUMBER)),
        b"S": (Listen, ()),
        b"E": (Leave, ()),
    },
    3 * MAX_PEM + 256,
)
ASKED: Table[Asked] = Table(
    {
        b"A": (Authenticate, (_NAME, _NAME, PEER)),
        b"C": (Call, (_NAME, ARGUMENTS, OPTIONAL_JOB, OPTIONAL_SECONDS)),
        b"T": (Attach, (JOB, NUMBER)),
        b"L": (List, ()),
        b"E": (Cancel, (JOB,)),
        b"G": (GiveUp, ()),
    },
    MAX_REQUEST_SIZE + 256,
)
ANSWERED: Table[Answered] = Table(
    {
        b"K": (Known, ()),
        b"R": (Refused, (text(4096),)),
        b"A": (Taken, (FLAG,)),
        b"D": (Said, (data(MOST_SAID),)),
        b"S": (SaidAll, ()),
        b"F": (Finished, ()),
        b"C": (Closed, ()),
    },
    MOST_SAID + 256,
)

"""A network process that somebody has taken over; ``hostile_network.py ATTACK [ARGUMENT...]``.

It starts like the real one, and loses its rights like it.  Then it does what an attacker would,
and prints what came of it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from harpcaller.agent.accounts import Identity
from harpcaller.agent.separation.confinement import confine
from harpcaller.agent.separation.control import Control
from harpcaller.agent.separation.table import (
    ANSWERED,
    ASKED,
    TO_MONITOR,
    Asked,
    Attach,
    Authenticate,
    Call,
    Confine,
    List,
    Listen,
    Listening,
    Noted,
    Opened,
    Ready,
    ToMonitor,
)
from harpcaller.wire.client import JobId
from harpcaller.wire.values import Raw

KNOWN = Authenticate("somebody", "let me in", "192.0.2.1")
CALL = Call("ticks", Raw(b"[]"), None, None)
OPENED = TO_MONITOR.encode(Opened())


def start() -> socket.socket:
    """Start like the real one; gives the control socket."""
    os.setsid()
    ours = socket.socket(fileno=3)
    control = Control(ours)
    _, told = control.wait_for(), control.wait_for()
    assert isinstance(told, Confine)
    identity = Identity(told.uid, told.gid, (told.gid,), None, None) if told.changes else None
    control.say(Ready(confine(identity, os.getppid())))
    assert isinstance(control.wait_for(), Listen)
    control.say(Listening())
    return ours


def say(control: socket.socket, message: ToMonitor, *descriptors: int) -> None:
    _ = socket.send_fds(control, [TO_MONITOR.encode(message)], descriptors)


def channel(control: socket.socket, *messages: Asked) -> socket.socket:
    """Open a channel and say something on it."""
    ours, theirs = socket.socketpair()
    with theirs:
        say(control, Opened(), theirs.fileno())
    for message in messages:
        ours.sendall(ASKED.encode(message))
    return ours


def answers(ours: socket.socket) -> str:
    """Tell what comes on a channel until it is closed, or for some time nothing does."""
    ours.settimeout(20)
    reader = ANSWERED.reader()
    found = []
    with suppress(ConnectionError):
        while data := ours.recv(65536):
            reader.feed(data)
            while (answer := reader.next()) is not None:
                found.append(answer)
    return repr(found)


def tried(what: str, work: Callable[[], object]) -> None:
    """Try what must not be possible."""
    try:
        found = work()
    except OSError as error:
        print(f"{what}: {error.strerror}", flush=True)
    else:
        print(f"{what}: DONE {found!r}"[:200], flush=True)


def ptrace(libc: ctypes.CDLL, pid: int) -> None:
    """Look into a process."""
    if libc.ptrace(16, pid, 0, 0) < 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def what_is_there(control: socket.socket, *paths: str) -> None:
    for path in (*paths, "/etc/shadow", "/etc/passwd", "/proc/self/mem", "/dev/null", "../../etc"):
        tried(f"open {path}", partial(os.open, path, os.O_RDONLY))
    tried("list", lambda: os.listdir("/").index("etc") if os.listdir("/") else os.stat("/etc"))
    for path in ("/new", "new"):
        tried(f"write {path}", partial(os.open, path, os.O_RDWR | os.O_CREAT))
        tried(f"mkdir {path}", partial(os.mkdir, path))


def others(control: socket.socket, *pids: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for pid in map(int, pids):
        for number in (0, 9, 15, 18):
            tried(f"kill {number}", partial(os.kill, pid, number))
        tried("ptrace", partial(ptrace, libc, pid))
    tried("become root", lambda: os.setuid(0))
    tried("become root's group", lambda: os.setgid(0))
    tried("groups", lambda: os.setgroups([0]))
    tried("chroot", lambda: os.chroot("/"))
    tried("fork", os.fork)
    tried("nice", lambda: os.nice(-5))
    tried("execve", lambda: os.execv("/bin/sh", ["sh"]))  # noqa: S606
    tried("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
    tried("low port", lambda: socket.socket().bind(("127.0.0.1", 80)))


def call_of_nobody(control: socket.socket) -> None:
    print(answers(channel(control, CALL)), flush=True)


def call_after_refusal(control: socket.socket) -> None:
    wrong = channel(control, Authenticate("somebody", "a guess", "192.0.2.1"), CALL)
    print(answers(wrong), flush=True)


def two_calls(control: socket.socket) -> None:
    channel(control, KNOWN, CALL, CALL)


def other_channel(control: socket.socket) -> None:
    """Who is known on one channel isn't on another."""
    kept = channel(control, KNOWN)
    channel(control, CALL)
    kept.recv(1)


def forged_caller(control: socket.socket) -> None:
    forged = Raw(b'[],"call":{"user":"root","peer":"::1","id":1}')
    channel(control, KNOWN, Call("ticks", forged, None, None))


def second_line(control: socket.socket) -> None:
    channel(control, KNOWN, Call("ticks", Raw(b'[]\n{"procedure":"x"}'), None, None))


def job_of_another(control: socket.socket) -> None:
    print(answers(channel(control, KNOWN, Attach(JobId("a job"), 0))), flush=True)


def garbage_on_the_channel(control: socket.socket) -> None:
    channel(control).sendall(os.urandom(70_000))


def gigantic(control: socket.socket) -> None:
    channel(control).sendall(b"A" + struct.pack(">I", 2**32 - 1))


def behind_the_question(control: socket.socket) -> None:
    ours = channel(control, KNOWN, CALL)
    ours.sendall(ASKED.encode(KNOWN)[:-1])


def garbage(control: socket.socket) -> None:
    control.sendall(b"\0" * 1000)


def gigantic_note(control: socket.socket) -> None:
    control.sendall(b"N" + struct.pack(">I", 2**31))


def ready_again(control: socket.socket) -> None:
    say(control, Ready("all rights"))


def listening_again(control: socket.socket) -> None:
    say(control, Listening())


def no_descriptor(control: socket.socket) -> None:
    say(control, Opened())


def descriptor_of_nothing(control: socket.socket) -> None:
    say(control, Noted("info", "agent.refused", Raw(b"{}")), control.fileno())


def too_many_descriptors(control: socket.socket) -> None:
    _ = socket.send_fds(control, [OPENED], [control.fileno()] * 100)


def a_pipe(control: socket.socket) -> None:
    say(control, Opened(), os.pipe()[0])


def a_port(control: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port:
        say(control, Opened(), port.fileno())


def a_listener(control: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0harpd-test-{os.getpid()}")
        listener.listen()
        say(control, Opened(), listener.fileno())


def itself(control: socket.socket) -> None:
    """What the monitor says on the control socket comes back to it as if on a channel."""
    say(control, Opened(), control.fileno())
    control.sendall(b"\xff")


def descriptor_on_a_channel(control: socket.socket) -> None:
    _ = socket.send_fds(channel(control), [ASKED.encode(KNOWN)], [control.fileno()] * 9)


def flood_of_channels(control: socket.socket) -> None:
    opened = []
    for _ in range(900):
        opened.append(channel(control))
    closed = 0
    for one in opened:
        one.setblocking(False)
        with suppress(BlockingIOError):
            closed += not one.recv(1)
    print(f"closed at once: {closed > 0}", flush=True)
    for one in opened:
        one.close()
    print(answers(channel(control, KNOWN, List())), flush=True)


def flood_of_calls(control: socket.socket) -> None:
    calls = [channel(control, KNOWN, CALL) for _ in range(50)]
    print(answers(calls[-1]), flush=True)


def flood_of_notes(control: socket.socket) -> None:
    note = TO_MONITOR.encode(Noted("error", "agent.call_started", Raw(b'{"user":"root"}')))
    for _ in range(200):
        control.sendall(note * 100)
    print(answers(channel(control, KNOWN, List())), flush=True)


def leaves(control: socket.socket) -> None:
    sys.exit(3)


ATTACKS: dict[str, Callable[..., None]] = {
    work.__name__: work
    for work in (
        what_is_there,
        others,
        call_of_nobody,
        call_after_refusal,
        two_calls,
        other_channel,
        forged_caller,
        second_line,
        job_of_another,
        garbage_on_the_channel,
        gigantic,
        behind_the_question,
        garbage,
        gigantic_note,
        ready_again,
        listening_again,
        no_descriptor,
        descriptor_of_nothing,
        too_many_descriptors,
        a_pipe,
        a_port,
        a_listener,
        itself,
        descriptor_on_a_channel,
        flood_of_channels,
        flood_of_calls,
        flood_of_notes,
        leaves,
    )
}

if __name__ == "__main__":
    control = start()
    with suppress(BrokenPipeError, ConnectionResetError):
        ATTACKS[sys.argv[1]](control, *sys.argv[2:])
        print("that was all", flush=True)
        while control.recv(65536):
            pass
    os._exit(0)

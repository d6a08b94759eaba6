"""Procedures of every kind, for agents under test."""

from __future__ import annotations

PROCEDURES = """
from __future__ import annotations
import os, signal, subprocess, sys, time
from harpd.proc import CallInfo, procedure, streaming_procedure, Result

print("loading", flush=True)
KEPT = open(os.devnull)

@procedure
def add(a, b=2):
    return a + b

@streaming_procedure
def ticks(n):
    for i in range(n):
        yield {"i": i}
    yield Result("done")

@procedure
def nap(seconds):
    time.sleep(seconds)
    return seconds

def open_file(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}").split(":")[0]
    except FileNotFoundError:
        return None

@procedure
def surroundings():
    KEPT.read()
    return {
        "pid": os.getpid(), "group": os.getpgrp(), "session": os.getsid(0),
        "stdin": sys.stdin.read(),
        "descriptors": [open_file(fd) for fd in range(20) if open_file(fd)],
        "ignored": subprocess.run(["grep", "SigIgn", "/proc/self/status"],
                                  capture_output=True, text=True).stdout.split()[1],
        "locale": "LC_CTYPE" in os.environ,
        "threads": len(os.listdir("/proc/self/task")),
    }

@procedure
def broken_pipe():
    r, w = os.pipe()
    os.close(r)
    os.write(w, b"x")

@procedure(lock="bed")
def sleeps_alone(seconds):
    began = time.monotonic()
    time.sleep(seconds)
    return [began, time.monotonic()]

@procedure
def marks(path):
    open(path, "w").close()

@procedure
def meets(mine, *others):
    open(mine, "w").close()
    while not all(map(os.path.exists, others)):
        time.sleep(0.01)
    return "met"

@procedure
def who_calls(call: CallInfo, word="hello"):
    return [call.user, call.peer, call.id, word]

@procedure
def prints():
    print("from python")
    print("to the error output", file=sys.stderr)
    os.system("echo from a shell")
    return "printed"

@procedure
def leaves(code):
    os._exit(code)

@procedure
def dies():
    os.kill(os.getpid(), signal.SIGKILL)

@procedure
def raises():
    raise LookupError("nothing here")

@streaming_procedure
def with_child(ignoring=False, ignoring_child=False):
    if ignoring_child:
        child = subprocess.Popen(["sh", "-c", "trap '' TERM; echo ready; sleep 1000; sleep 1000"],
                                 stdout=subprocess.PIPE)
        child.stdout.readline()
    else:
        child = subprocess.Popen(["sleep", "1000"])
    if ignoring:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield [os.getpid(), child.pid]
    while True:
        time.sleep(1000)

@streaming_procedure
def cleans_up():
    def too_late(number, frame):
        raise TimeoutError("cleaned up")
    signal.signal(signal.SIGXCPU, too_late)
    yield "ready"
    time.sleep(1000)

@procedure
def leaves_a_child():
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    return child

@streaming_procedure
def endless():
    i = 0
    while True:
        yield {"i": i, "filling": "x" * 1000}
        i += 1

@procedure
def nonsense():
    for fd in range(3, 20):
        try:
            os.write(fd, b"nonsense\\n")
        except OSError:
            pass
    time.sleep(1000)

@procedure
def who():
    return [os.getresuid(), os.getresgid(), sorted(os.getgroups()), os.environ.get("HOME")]

@procedure(uid="nobody")
def as_nobody():
    return who()

@procedure(uid=65534, gid=[7, 8])
def in_groups():
    return who()

@procedure(uid="no-such-user")
def as_nobody_at_all():
    return "never"
"""

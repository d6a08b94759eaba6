"""The procedures of this host; harpd(8) says how they are run.

Each global variable that holds a procedure can be called, under its name. A call runs in a
process of its own: it may block, crash, or leave a mess. Whatever it prints is logged.

`harpd --test` checks this file. SIGHUP loads it anew, and calls under way keep the old code.
"""

import os
import shutil
import signal
import subprocess

from harpd.proc import Result, procedure, streaming_procedure


@procedure
def uptime():
    """Tell for how many seconds this host is up, and how busy it is."""
    with open("/proc/uptime") as stream:
        seconds = float(stream.read().split()[0])
    return {"seconds": seconds, "load": os.getloadavg()}


@procedure(uid="nobody", timeout=10)
def disk_usage(path="/"):
    """Tell how full a file system is, in bytes. Needs no rights at all."""
    usage = shutil.disk_usage(path)
    return {"path": path, "total": usage.total, "used": usage.used, "free": usage.free}


@procedure(timeout=60)
def restart_service(name):
    """Restart a service. An exception goes to the caller with its message."""
    # A leading dash would be an option.
    done = subprocess.run(
        ["systemctl", "restart", "--", name], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"systemctl ended with {done.returncode}")
    return name


@streaming_procedure(timeout=600)
def follow_journal(unit, lines=10):
    """Stream a unit's log until the caller goes away, or for ten minutes.

    At the limit there is a SIGXCPU first; whatever isn't gone some seconds later is killed.
    """
    journal = subprocess.Popen(
        ["journalctl", f"--unit={unit}", f"--lines={int(lines)}", "--follow", "--output=short-iso"],
        stdout=subprocess.PIPE,
        text=True,
    )

    def enough(number, frame):
        journal.terminate()

    signal.signal(signal.SIGXCPU, enough)
    count = 0
    for line in journal.stdout:
        yield {"line": line.rstrip("\n")}
        count += 1
    yield Result(count)

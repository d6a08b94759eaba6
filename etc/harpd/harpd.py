"""The procedures of this host, to begin with; harpd(8) says how they are run.

Each global variable that holds a procedure can be called, under its name; everything else is for
this file only. A call runs in a process of its own: it may block, crash, or leave a mess. Whatever
it prints is logged.

Arguments come from outside, so nothing here believes them: services and logs must be in the lists
below, names are compared with what a name may look like, and no shell ever sees them. What needs
no rights has none (``uid="nobody"``).

`harpd --test` checks this file. SIGHUP loads it anew, and calls under way keep the old code.
"""

import os
import re
import signal
import stat
import subprocess
import time

from harpd.proc import Result, procedure, streaming_procedure

#: The services that callers may restart. Empty means none: write down yours.
RESTARTED_BY_CALLERS = ()
# RESTARTED_BY_CALLERS = ("nginx.service", "php8.2-fpm.service")

#: The logs that callers may read: files by their whole path, and services, whose log is in the
#: journal. Logs tell secrets.
READ_BY_CALLERS = ()
# READ_BY_CALLERS = ("/var/log/dpkg.log", "nginx.service")

# --- This host ---------------------------------------------------------------------------------


@procedure(uid="nobody", timeout=10)
def uptime():
    """Tell for how many seconds this host is up, and how busy it is.

    `load` is how many processes wanted a processor, on average over 1, 5 and 15 minutes; above
    `processors` they had to wait.
    """
    with open("/proc/uptime") as stream:
        seconds = float(stream.read().split()[0])
    return {"seconds": seconds, "load": os.getloadavg(), "processors": os.cpu_count()}


#: What is mounted but keeps no files of ours, or can hang because its server is gone.
NOT_DISKS = {"squashfs", "iso9660", "overlay", "nfs", "nfs4", "cifs", "smb3", "ceph", "9p"}
NOT_DISKS |= {"autofs", "afs", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "devtmpfs"}


@procedure(uid="nobody", timeout=30)
def disk_usage(path=None):
    """Tell how full file systems are, in bytes: all that are mounted, or the one that has `path`.

    Network file systems are told of only if asked for by path. One that can't be looked at has an
    `error` instead of numbers.
    """
    if path is not None:
        # A number would be one of this process's descriptors.
        _must_look_like(r"/[^\0]*", path, "an absolute path")
        return _usage(path)
    found = {}
    for mount, kind in _mounts():
        # In a container, what is mounted at / is an overlay.
        if mount != "/" and (kind in NOT_DISKS or mount.startswith(("/dev/", "/proc/", "/sys/"))):
            continue
        try:
            usage = _usage(mount)
            device = os.stat(mount).st_dev
        except OSError as error:
            usage, device = {"path": mount, "error": error.strerror}, mount
        # Those of the kernel have no size. One that is mounted twice is told of once.
        if usage.get("total") != 0:
            found.setdefault(device, usage)
    return list(found.values())


def _usage(path):
    # shutil.disk_usage doesn't tell the number of files, which runs out just as well.
    system = os.statvfs(path)
    size = system.f_frsize
    return {
        "path": path,
        "total": system.f_blocks * size,
        "used": (system.f_blocks - system.f_bfree) * size,
        "free": system.f_bavail * size,  # for others than root
        "files_free": system.f_favail,
    }


def _mounts():
    with open("/proc/self/mounts") as stream:
        for line in stream:
            _, mount, kind, *_ = line.split(" ")
            # Blanks and the like are written as octal numbers: \040.
            yield re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), mount), kind


# --- Packages ----------------------------------------------------------------------------------


@procedure(uid="nobody", timeout=60)
def package_versions(*names):
    """Tell which versions of packages are installed, or of all packages if none is named.

    The result has a list for each name, because some may be there in several versions or for
    several architectures. The list is empty if the package isn't installed.
    """
    for name in names:
        _must_look_like(r"[A-Za-z0-9][A-Za-z0-9+._:-]*", name, "the name of a package")
    for command in (
        ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\\n"],
        ["rpm", "--query", "--queryformat=installed %{NAME} %{VERSION}-%{RELEASE}\\n"],
    ):
        all_of_them = ["--all"] if command[0] == "rpm" and not names else []
        try:
            # It fails if a single package isn't there, and tells of the others all the same.
            done = _run([*command, *all_of_them, "--", *names])
        except FileNotFoundError:
            continue
        versions = {name: [] for name in names}
        for line in done.stdout.splitlines():
            if line.startswith("installed "):
                _, name, version = line.split(" ")
                versions.setdefault(name, []).append(version)
        return versions
    raise RuntimeError("this host has neither dpkg-query nor rpm")


# --- Services ----------------------------------------------------------------------------------

SERVICE = r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]*"
SHOWN = "LoadState,ActiveState,SubState,Result,ActiveEnterTimestamp,MainPID,NRestarts"


@procedure(uid="nobody", timeout=30)
def service_status(name):
    """Tell how a service of systemd's is: `active` is what most want to know."""
    _must_look_like(SERVICE, name, "the name of a service")
    told = _systemctl("show", f"--property={SHOWN}", "--", name)
    values = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    if values["LoadState"] == "not-found":
        raise LookupError(f"there is no service {name!r}")
    return {
        "service": name,
        "active": values["ActiveState"] == "active",
        "state": values["ActiveState"],
        "substate": values["SubState"],
        "result": values.get("Result"),
        "since": values.get("ActiveEnterTimestamp") or None,
        "pid": int(values.get("MainPID", 0)) or None,
        "restarts": int(values.get("NRestarts", 0)),
    }


@procedure(timeout=120, lock="services")
def restart_service(name):
    """Restart a service that callers may restart, and tell how it is then.

    One at a time: who asks while another is being restarted waits, whichever they are.
    """
    _must_be_among(RESTARTED_BY_CALLERS, name, "the services that may be restarted")
    _systemctl("restart", "--", name)
    return service_status(name)


def _systemctl(*arguments):
    try:
        done = _run(["systemctl", "--no-pager", *arguments])
    except FileNotFoundError:
        raise RuntimeError("this host has no systemctl: it isn't run by systemd") from None
    if done.returncode != 0:
        told = done.stderr.strip().splitlines()
        raise RuntimeError(told[0] if told else f"systemctl ended with {done.returncode}")
    return done.stdout


# --- Logs --------------------------------------------------------------------------------------

MOST_LINES = 1000
LONGEST_LINE = 8192  # bytes
FARTHEST_BACK = 1 << 20  # bytes
LONGEST_FOLLOW = 3600  # seconds


@streaming_procedure(timeout=LONGEST_FOLLOW + 60)
def follow_log(path, lines=10, seconds=300):
    """Stream a log that callers may read: its last lines, then what is written for some time.

    A log that is rotated or emptied meanwhile is followed into its new file. The result is the
    number of lines. A line that is too long comes in several parts.

    The dispatcher ends calls that are silent for longer than their `timeout`, and those that take
    longer than `max_exec_time`, by default 600 seconds each: who wants to follow for longer says
    so in the call, too.
    """
    _must_be_among(READ_BY_CALLERS, path, "the logs that may be read")
    lines = _number("lines", lines, MOST_LINES)
    end = time.monotonic() + _number("seconds", seconds, LONGEST_FOLLOW)
    log, newer, line, count = _open_log(path), None, b"", 0
    _go_back(log, lines)
    while True:
        part = log.readline(LONGEST_LINE - len(line))
        line += part
        if line.endswith(b"\n") or len(line) == LONGEST_LINE or (newer and line and not part):
            yield {"line": line.decode(errors="replace").rstrip("\n")}
            line, count = b"", count + 1
            if count >= lines and time.monotonic() > end:
                break
        elif part:
            pass  # A line that isn't written to its end yet.
        elif newer:
            # Nothing more came into the old file since the newer was found, so that's all of it.
            log.close()
            log, newer = newer, None
        elif time.monotonic() > end:
            break
        else:
            newer = _newer_log(path, log)
            if newer is None:
                time.sleep(0.2)
    yield Result(count)


def _open_log(path):
    # Who may write into the folder could put a link there, to a file that only root may read.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise PermissionError(f"{path!r} is not a file")
    return open(descriptor, "rb")


def _newer_log(path, log):
    """Open the log anew if it is another file by now, or was emptied; otherwise give None."""
    try:
        newer = _open_log(path)
    except FileNotFoundError:
        return None  # It is just being rotated.
    old, new = os.fstat(log.fileno()), os.fstat(newer.fileno())
    if os.path.samestat(old, new) and new.st_size >= log.tell():
        newer.close()
        return None
    return newer


def _go_back(log, lines):
    """Go to where the last lines begin, if that isn't too far."""
    size = log.seek(0, os.SEEK_END)
    start = log.seek(max(0, size - FARTHEST_BACK))
    text = log.read(size - start)
    before = len(text) - 1 if text.endswith(b"\n") else len(text)
    for _ in range(lines):
        before = text.rfind(b"\n", 0, before)
        if before < 0:
            break
    log.seek(min(size, start + before + 1))


@streaming_procedure(timeout=LONGEST_FOLLOW + 60)
def follow_journal(service, lines=10, seconds=300):
    """Stream the journal of a service whose log callers may read, as `follow_log` does."""
    _must_be_among(READ_BY_CALLERS, service, "the logs that may be read")
    lines = _number("lines", lines, MOST_LINES)
    seconds = _number("seconds", seconds, LONGEST_FOLLOW)
    command = ["journalctl", f"--unit={service}", f"--lines={lines}", "--follow", "--no-pager"]
    # Whatever it complains of is in the agent's log. If the call is ended, so is this process:
    # the agent ends the procedure with all that it has started.
    with subprocess.Popen([*command, "--output=short-iso"], stdout=subprocess.PIPE) as journal:
        signal.signal(signal.SIGALRM, lambda number, frame: journal.terminate())
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.5))
        count = 0
        while line := journal.stdout.readline(LONGEST_LINE):
            yield {"line": line.decode(errors="replace").rstrip("\n")}
            count += 1
    if journal.returncode not in (0, -signal.SIGTERM):
        raise RuntimeError(f"journalctl ended with {journal.returncode}; the agent's log says why")
    yield Result(count)


# --- What procedures have in common ------------------------------------------------------------


def _must_be_among(allowed, name, what):
    if name not in allowed:
        raise PermissionError(f"{name!r} is not among {what} from afar")


def _must_look_like(pattern, name, what):
    # A leading dash would be an option, and *, ? or [ would match many.
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        raise ValueError(f"expected {what}, got {name!r}")


def _number(name, value, most):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(f"{name}: expected a number from 0 to {most}, got {value!r}")
    return int(value)


def _run(command):
    """Run a program whose messages are English and whose output isn't for a terminal."""
    environ = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False)

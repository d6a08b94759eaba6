"""What the tools say and how they end when something is wrong: daemontools' words and codes.

Scripts look for both, so neither is ours to choose.  Imports as little as the exec-chain tools.
"""

import errno
import os

#: The tool was used wrongly.
USED_WRONGLY = 100
#: The system didn't give what was asked for.
FAILED = 111

#: daemontools has words of its own for the system's errors, and shows these to its users.
_REASONS = {
    errno.ENOENT: "file does not exist",
    errno.EACCES: "access denied",
    errno.EPERM: "permission denied",
    errno.EAGAIN: "temporary failure",
    errno.ENXIO: "device not configured",
    errno.ENOTDIR: "not a directory",
    errno.EISDIR: "is a directory",
    errno.ELOOP: "symbolic link loop",
    errno.EEXIST: "file already exists",
    errno.ENOMEM: "out of memory",
    errno.ENOSPC: "out of disk space",
    errno.EROFS: "read-only file system",
    errno.ENOEXEC: "exec format error",
    errno.E2BIG: "argument list too long",
    errno.ETXTBSY: "text busy",
    errno.EIO: "input/output error",
    errno.EPIPE: "broken pipe",
    errno.EINTR: "interrupted system call",
    errno.EMFILE: "process cannot open more files",
    errno.ENFILE: "system cannot open more files",
    errno.ENAMETOOLONG: "file name too long",
    errno.EBADF: "file descriptor not open",
    errno.EBUSY: "device busy",
    errno.EFBIG: "file too big",
    errno.EMLINK: "too many links",
    errno.EXDEV: "cross-device link",
    errno.ESRCH: "no such process",
    errno.ECHILD: "no child processes",
    errno.EINVAL: "invalid argument",
    errno.ENOTEMPTY: "directory not empty",
    errno.EDQUOT: "disk quota exceeded",
    errno.ETIMEDOUT: "timed out",
    errno.ENODEV: "device does not support operation",
    errno.ESTALE: "stale NFS file handle",
    errno.ENOSYS: "system call not available",
}


class Ended(Exception):
    """A tool's end before its work was done.

    Args:
        line: What to say on standard error, without the newline; empty to say nothing.
        exit_code: :data:`USED_WRONGLY` or :data:`FAILED`, mostly.
    """

    def __init__(self, line: str, exit_code: int = FAILED) -> None:
        super().__init__(line)
        self.line = line
        self.exit_code = exit_code


def reason(error: OSError) -> str:
    """Give daemontools' words for what the system answered."""
    return _REASONS.get(error.errno or 0, "unknown error")


def fatal(tool: str, what: str, error: OSError | None = None) -> Ended:
    """Make the end of a tool that can't do its work: ``TOOL: fatal: WHAT: REASON``."""
    return Ended(f"{tool}: fatal: {what}" + (f": {reason(error)}" if error else ""))


def usage(tool: str, synopsis: str, exit_code: int = USED_WRONGLY) -> Ended:
    """Make the end of a tool whose command line is wrong."""
    return Ended(f"{tool}: usage: {synopsis}", exit_code)


def show(tool: str, text: str) -> None:
    """Write text to standard output, with the bytes that names really have.

    Args:
        tool: Whose text it is.
        text: Whole lines.

    Raises:
        Ended: It can't be written.
    """
    data = memoryview(os.fsencode(text))
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError as error:
        raise fatal(tool, "unable to write output", error) from None


def say(line: str) -> None:
    """Write a line to standard error, at once and with the bytes that names really have."""
    try:
        os.write(2, os.fsencode(line) + b"\n")
    except OSError:
        pass  # there is nobody left to tell

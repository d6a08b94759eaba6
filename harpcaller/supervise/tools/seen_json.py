"""How a service is, as a JSON object on a line, for programs."""

from __future__ import annotations

from harpcaller.supervise.servicedir.detail import in_words, signal_name
from harpcaller.supervise.servicedir.seen import NotRunning, NotSeen, Seen
from harpcaller.wire.values import encode

_WANTS = {ord("u"): "up", ord("d"): "down", 0: "once"}


def encode_seen(path: str, seen: Seen | NotSeen, since_boot: float, now: int) -> str:
    """Write it.

    Args:
        path: The service, as it was asked for.
        seen: What is known of it, or why nothing is.
        since_boot: Seconds since the system's start.
        now: Unix time in nanoseconds.
    """
    fields: dict[str, object] = {"service": path.encode("utf-8", "replace").decode()}
    if isinstance(seen, NotSeen):
        if isinstance(seen, NotRunning):
            fields["supervised"] = False
        fields["error"] = str(seen)
    else:
        fields |= _known(seen, since_boot, now)
    return encode(fields).decode()


def _known(seen: Seen, since_boot: float, now: int) -> dict[str, object]:
    status, detail = seen.status, seen.detail
    fields: dict[str, object] = {
        "supervised": True,
        "up": status.pid != 0,
        "pid": status.pid or None,
        "paused": status.is_paused,
        "want": _WANTS.get(status.want),
        "normally": seen.normally.value,
        "since": status.changed / 10**9,
        "seconds": max(0.0, (now - status.changed) / 10**9),
    }
    if detail is None:
        if seen.status.encore_state is not None:
            fields["state"] = seen.status.encore_state
        return fields
    ending = detail.ending
    return fields | {
        "state": detail.state,
        "ready": detail.state == "ready",
        "state_seconds": max(0.0, since_boot - detail.uptime),
        "exit": None if ending is None else ending.code,
        "signal": None if ending is None or ending.signal is None else signal_name(ending.signal),
        "deaths": detail.deaths,
        "retry_seconds": None if detail.retry is None else max(0.0, detail.retry - since_boot),
        "waits_for": [_readable(name) for name in detail.waits_for],
        "said": _readable(detail.said) or None,
        "why": _readable(in_words(detail, since_boot)) or None,
    }


def _readable(text: str) -> str:
    """JSON has no place for bytes that aren't UTF-8."""
    return text.encode("utf-8", "replace").decode()

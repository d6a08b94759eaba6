"""What one answer tells for certain, and what it leaves open."""

from __future__ import annotations

from tests.fire.history import Answer, Question

#: A job's states, in order.
STATES = ("queued", "running", "ended")
#: Errors that say of the request, and not of the job, that something went wrong; the first
#: of them may be a job's end, too.
REFUSALS = frozenset({"storage_error", "shutdown"})
#: What the dispatcher says of a job whose end it could keep nowhere; see the dispatcher's
#: ``unaccounted``.
_UNACCOUNTED = "could not keep how it ended"


def told_ending(question: Question) -> Answer | None:
    """Give the job's ending, if the answer certainly tells one."""
    last = question.last
    if last is None or question.kind not in ("get_result", "follow_stream", "read_stream"):
        return None
    if "continue" in last or "no_result" in last:
        return None
    error = question.error
    if error in REFUSALS or error == "invalid_jobid":
        return None
    if error == "missing_result" and _UNACCOUNTED in last["error"]["message"]:
        return None
    return last


def least(question: Question) -> tuple[int, int]:
    """Give the least state and the least count of records that an answer tells."""
    last = question.last or {}
    if question.kind == "get_status" and "state" in last:
        return STATES.index(last["state"]), 0
    if question.kind == "cancel" and last.get("cancelled") is True:
        return 2, 0
    state = 2 if told_ending(question) is not None else 0
    count = question.records[-1]["packet"] + 1 if question.records else 0
    return max(state, 1 if count else 0), count


def most_state(question: Question) -> int:
    """Give the most advanced state that the job may be in for this answer to be true."""
    last = question.last or {}
    if question.kind == "get_status" and "state" in last:
        return STATES.index(last["state"])
    return 1 if "no_result" in last or "continue" in last else 2


def all_records(question: Question) -> list[Answer] | None:
    """Give the records of an answer that must have all that there were."""
    if question.kind != "read_stream" or question.error is not None:
        return None
    since = question.request.get("since", 0 if "recent" not in question.request else None)
    return question.records if since == 0 else None


def may_be_ending(question: Question) -> bool:
    """Tell whether a storage error may be how the job ended, and not how the asking did."""
    return question.kind in ("get_result", "follow_stream", "read_stream")

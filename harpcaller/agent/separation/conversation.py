"""What may come when on a channel: one user, one request.

::

    state     said_who    known    refused  wanted_*  gave_up     lost
    --------  ----------  -------  -------  --------  ----------  ----------
    new       > checking  --       --       !         !           > over
    checking  !           > known  > over   !         !           > over (1)
    known     !           --       --       > asked   !           > over
    asked     !           --       --       !         > given up  > over (2)
    given up  !           --       --       !         !           > over
    over      --          --       --       --        --          --

``wanted_*`` are ``wanted_call``, ``wanted_attach``, ``wanted_list`` and ``wanted_cancel``.  ``!``
is a breach: the network process is not what it should be, and is ended; it leads to ``over``.  (1)
Nobody needs the answer any more.  (2) The caller is gone.  ``--`` is accepted and means nothing.

So whoever asks for something is a user that was checked here, on this very channel; what he asks
for is done in his name, and nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred

from harpcaller.agent.calls import Calls
from harpcaller.agent.kept import KeptCall
from harpcaller.agent.kept_calls import KeptCalls
from harpcaller.agent.running import RunningCall
from harpcaller.agent.seams import IAnswers, IChecker
from harpcaller.agent.separation.table import Attach, Authenticate, Call, Cancel
from harpcaller.errors import NoSuchJob, WireError
from harpcaller.logs.events import EventLog, forget
from harpcaller.wire import agent as wire
from harpcaller.wire.ending import Failed


class Interview(Protocol):
    """What can happen on a channel."""

    def said_who(self, who: Authenticate) -> None:
        """Somebody says who he is."""

    def known(self) -> None:
        """He is."""

    def refused(self, error: WireError) -> None:
        """He isn't."""

    def wanted_call(self, call: Call) -> None:
        """He wants a procedure to be run."""

    def wanted_attach(self, attach: Attach) -> None:
        """He wants to go on with a call."""

    def wanted_list(self) -> None:
        """He wants to know which procedures there are."""

    def wanted_cancel(self, cancel: Cancel) -> None:
        """He wants a call to end."""

    def gave_up(self) -> None:
        """He wants no more of the call that he asked for."""

    def lost(self) -> None:
        """The channel is closed."""


@attrs.frozen
class Office:
    """What the monitor has for those who ask.

    Args:
        checker: Knows who may call.
        calls: Runs the calls.
        kept_calls: Those that go on when their connections break.
        log: Where refusals are told of.
    """

    checker: IChecker
    calls: Calls
    kept_calls: KeptCalls
    log: EventLog


@attrs.define(eq=False)
class InterviewCore:
    """What an interview is made of.

    Args:
        office: Does what is asked for.
        answers: The way back.
        breach: Called with what was wrong if the network process breaks the rules.
    """

    office: Office
    answers: IAnswers
    breach: Callable[[str], None]
    user: str = "?"
    peer: str = "?"
    checking: Deferred[None] | None = None
    call: RunningCall | None = None
    kept: KeptCall | None = None

    @property
    def credentials(self) -> wire.Credentials:
        """Who was checked; nobody needs the password any more."""
        return wire.Credentials(self.user, "")

    def check(self, interview: Interview, who: Authenticate) -> None:
        """Ask whether somebody is who he says."""
        self.user, self.peer = who.user, who.peer
        credentials = wire.Credentials(who.user, who.password)

        async def check() -> None:
            try:
                await self.office.checker.check(credentials, who.peer)
            except WireError as error:
                interview.refused(error)
            else:
                interview.known()

        self.checking = Deferred.fromCoroutine(check())
        forget(self.checking, self.office.log, "agent.request_failed")

    def begin(self, wanted: Call) -> None:
        """Start a call.

        Raises:
            WireError: It can't run.
        """
        calls, kept_calls = self.office.calls, self.office.kept_calls
        request = wire.ProcedureCall(
            wanted.procedure, wanted.arguments, self.credentials, wanted.job, wanted.again
        )
        if wanted.job is not None and kept_calls.are_kept:
            self.kept = kept_calls.begin(
                request, self.answers, lambda keeper: calls.begin(request, keeper, self.peer)
            )
        elif wanted.again is not None:
            raise NoSuchJob("whether the call was begun before isn't known any more")
        else:
            self.call = calls.begin(request, self.answers, self.peer)

    def attach(self, wanted: Attach) -> None:
        """Go on with a call.

        Raises:
            WireError: There is no such call of this user's.
        """
        request = wire.Attach(wanted.job, wanted.since, self.credentials)
        self.kept = self.office.kept_calls.attach(request, self.answers, self.peer)

    def leave(self) -> None:
        """Give up what was begun, as far as it isn't kept."""
        if self.checking is not None:
            self.checking.cancel()
        if self.kept is not None:
            self.kept.lost(self.answers)
        if self.call is not None:
            self.call.caller_gone()

    def refuse(self, error: WireError) -> None:
        """Tell him why not."""
        self.office.log.info(
            "agent.refused", peer=self.peer, type=error.wire_type, message=error.message
        )
        self.answers.tell(wire.encode_message(Failed.because(error)))
        self.answers.close()


_builder = TypeMachineBuilder(Interview, InterviewCore)
_new = _builder.state("new")
_checking = _builder.state("checking")
_known = _builder.state("known")
_asked = _builder.state("asked")
_given_up = _builder.state("given up")
_over = _builder.state("over")


@_new.upon(Interview.said_who).to(_checking)
def _check(interview: Interview, core: InterviewCore, who: Authenticate) -> None:
    core.check(interview, who)


@_checking.upon(Interview.known).to(_known)
def _let_in(interview: Interview, core: InterviewCore) -> None:
    core.answers.known()


@_checking.upon(Interview.refused).to(_over)
def _turn_away(interview: Interview, core: InterviewCore, error: WireError) -> None:
    core.answers.refused(error.message)


@_known.upon(Interview.wanted_call).to(_asked)
def _call(interview: Interview, core: InterviewCore, call: Call) -> None:
    try:
        core.begin(call)
    except WireError as error:
        core.refuse(error)


@_known.upon(Interview.wanted_attach).to(_asked)
def _attach(interview: Interview, core: InterviewCore, attach: Attach) -> None:
    try:
        core.attach(attach)
    except WireError as error:
        core.refuse(error)


@_known.upon(Interview.wanted_list).to(_asked)
def _list(interview: Interview, core: InterviewCore) -> None:
    try:
        line = wire.encode_procedures(
            core.office.calls.listed(wire.ListProcedures(core.credentials))
        )
    except WireError as error:
        core.refuse(error)
    else:
        core.answers.finish(line)


@_known.upon(Interview.wanted_cancel).to(_asked)
def _cancel(interview: Interview, core: InterviewCore, cancel: Cancel) -> None:
    try:
        ended = core.office.kept_calls.cancel(wire.CancelJob(cancel.job, core.credentials))
    except WireError as error:
        core.refuse(error)
    else:
        core.answers.finish(wire.encode_cancelled(ended))


@_asked.upon(Interview.gave_up).to(_given_up)
def _give_up(interview: Interview, core: InterviewCore) -> None:
    if core.kept is not None:
        _ = core.kept.cancel()
    elif core.call is not None:
        core.call.caller_gone()


@_new.upon(Interview.lost).to(_over)
@_checking.upon(Interview.lost).to(_over)
@_known.upon(Interview.lost).to(_over)
@_asked.upon(Interview.lost).to(_over)
@_given_up.upon(Interview.lost).to(_over)
def _leave(interview: Interview, core: InterviewCore) -> None:
    core.leave()


def _breach(interview: Interview, core: InterviewCore, *_: object) -> None:
    core.leave()
    core.breach("a message that can't come now")


_WANTED = ("wanted_call", "wanted_attach", "wanted_list", "wanted_cancel")
for _state, _breaches in (
    (_new, (*_WANTED, "gave_up")),
    (_checking, ("said_who", *_WANTED, "gave_up")),
    (_known, ("said_who", "gave_up")),
    (_asked, ("said_who", *_WANTED)),
    (_given_up, ("said_who", *_WANTED, "gave_up")),
):
    for _name in _breaches:
        _ = _state.upon(getattr(Interview, _name)).to(_over)(_breach)

for _state, _late in (
    (_new, ("known", "refused")),
    (_known, ("known", "refused")),
    (_asked, ("known", "refused")),
    (_given_up, ("known", "refused")),
    (_over, ("said_who", *_WANTED, "gave_up", "known", "refused", "lost")),
):
    for _name in _late:
        _state.upon(getattr(Interview, _name)).loop().returns(None)

#: Makes an interview of its :class:`InterviewCore`.
make_interview = _builder.build()

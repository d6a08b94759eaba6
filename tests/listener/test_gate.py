"""Who asks is found out, and what he may not do is refused before anything is done."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from harpcaller.config.access import AllowRule
from harpcaller.config.tokens import Tokens, new_token
from harpcaller.errors import NotAllowed, StorageError
from harpcaller.interfaces import Requester
from harpcaller.listener.gate import Access, admit, identified, subject_of
from harpcaller.listener.rules import Rights, Rules
from harpcaller.testing.dispatcher import FakeDispatcher
from harpcaller.wire.client import (
    Call,
    Cancel,
    FollowStream,
    GetResult,
    GetStatus,
    JobId,
    ReadStream,
    Request,
)
from harpcaller.wire.registry import ListHosts, ListProceduresOf
from harpcaller.wire.values import Raw
from tests.house import HouseCase

WEB = Requester("192.0.2.7:4711", "web")
CALL = Call("web01", "restart", Raw(b"[]"))


class IdentityTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.token, line = new_token("ops", bytes)
        self.access = Access(Tokens(line))

    def test_no_token(self) -> None:
        """The connection tells, or nothing does."""
        for asker in (WEB, Requester("192.0.2.7:4711")):
            self.assertEqual(asker, identified(self.access, asker, None))

    def test_token(self) -> None:
        """A token counts more than the connection."""
        self.assertEqual(Requester(WEB.peer, "ops"), identified(self.access, WEB, self.token))

    def test_unknown_token(self) -> None:
        """It is refused, also where the connection tells enough, and isn't quoted."""
        error = self.assertRaises(NotAllowed, identified, self.access, WEB, "secret")
        self.assertNotIn("secret", str(error))


class AdmissionTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.dispatcher = FakeDispatcher()

    def admit(self, request: Request, *rules: AllowRule, who: Requester = WEB) -> Deferred[Rights]:
        access = Access(rules=Rules(rules))
        return Deferred.fromCoroutine(admit(self.dispatcher, access, request, who))

    def denied(self, request: Request, *rules: AllowRule, who: Requester = WEB) -> str:
        return str(self.failureResultOf(self.admit(request, *rules, who=who), NotAllowed).value)

    def job(self) -> JobId:
        return self.successResultOf(self.dispatcher.submit(CALL, WEB))

    def test_no_rules(self) -> None:
        """Everything is let through, and no job is looked up for it."""
        self.assertTrue(self.successResultOf(self.admit(Cancel(JobId("?")))).everywhere)

    def test_calls(self) -> None:
        """Client, operation, host and procedure must all fit one rule."""
        rule = AllowRule(clients=("web",), operations=("call",), hosts=("web*",))
        self.successResultOf(self.admit(CALL, rule))
        other = Call("db01", "restart", Raw(b"[]"))
        self.assertEqual("web may not call restart on db01", self.denied(other, rule))
        self.assertEqual("web may not get_result", self.denied(GetResult(self.job()), rule))
        self.assertEqual(
            "a client that isn't known may not call",
            self.denied(CALL, rule, who=Requester("x")),
        )

    def test_jobs(self) -> None:
        """A job counts by its host and procedure, which the refusal doesn't tell."""
        job = self.job()
        self.successResultOf(self.admit(Cancel(job), AllowRule(clients=("web",), hosts=("web*",))))
        for rule in (
            AllowRule(clients=("web",), hosts=("db*",)),
            AllowRule(clients=("web",), procedures=("start",)),
        ):
            self.assertEqual(
                f"web may not read_stream of the job {job}", self.denied(ReadStream(job), rule)
            )

    def test_own_jobs(self) -> None:
        """A client may be kept to the jobs that it has submitted; nobody's are nobody's own."""
        job = self.job()
        rule = AllowRule(clients=("web", "ops", "anonymous"), jobs="own")
        for request in (GetResult(job, True), GetStatus(job), Cancel(job), FollowStream(job)):
            self.successResultOf(self.admit(request, rule))
            denied = self.denied(request, rule, who=Requester("x", "ops"))
            self.assertIn(f"of the job {job}", denied)
        nobody = Requester("192.0.2.7:4711")
        others = self.successResultOf(self.dispatcher.submit(CALL, nobody))
        self.denied(ReadStream(others), rule, who=nobody)
        self.denied(ReadStream(others), rule)
        self.successResultOf(self.admit(CALL, rule, who=nobody))

    def test_no_such_job(self) -> None:
        """What is asked of a job that isn't there is answered as ever."""
        rule = AllowRule(clients=("web",), hosts=("web*",))
        self.successResultOf(self.admit(Cancel(JobId("?")), rule))

    def test_job_that_cannot_be_read(self) -> None:
        """Nothing is allowed of a job whose host nobody can tell."""
        job = self.job()
        self.dispatcher.damage(job)
        rule = AllowRule(clients=("web",), hosts=("web*",))
        self.failureResultOf(self.admit(Cancel(job), rule), StorageError)

    def test_lists(self) -> None:
        """The hosts' list is let through and filtered; procedures are a host's."""
        rule = AllowRule(clients=("web",), hosts=("web*",), procedures=("x",))
        rights = self.successResultOf(self.admit(ListHosts(), rule))
        self.assertEqual([True, False], [rights.cover("web01"), rights.cover("db01")])
        self.successResultOf(self.admit(ListProceduresOf("web01"), rule))
        self.assertEqual(
            "web may not list_procedures of db01", self.denied(ListProceduresOf("db01"), rule)
        )


class SubjectTests(HouseCase):
    def test_what_a_request_is_about(self) -> None:
        """The log tells of operation, host, procedure and job, and never of arguments."""
        call = Call("web01", "restart", Raw(b'["secret"]'))
        self.assertEqual(
            {"operation": "call", "host": "web01", "procedure": "restart"}, subject_of(call)
        )
        self.assertEqual(
            {"operation": "list_procedures", "host": "web01"},
            subject_of(ListProceduresOf("web01")),
        )
        self.assertEqual({"operation": "list_hosts"}, subject_of(ListHosts()))
        job = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")
        for request in (
            GetResult(job, True),
            GetStatus(job),
            Cancel(job),
            FollowStream(job),
            ReadStream(job),
        ):
            self.assertEqual(str(job), subject_of(request)["job"])

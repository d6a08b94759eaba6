"""What rules allow, and what they don't."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.config.access import AllowRule
from harpcaller.listener.rules import Rules
from tests.house import HouseCase

_names = st.sampled_from(["web", "ops", "anonymous", "*", "w*", "[ow]??"])
_some = st.lists(_names, min_size=1, max_size=2).map(tuple)


class RuleTests(HouseCase):
    def test_no_rule(self) -> None:
        """Everybody may do everything."""
        rights = Rules().rights(None, "call")
        self.assertTrue(rights.everywhere and rights.cover("h", "p") and not rights.none)

    def test_nothing_fits(self) -> None:
        """With a rule, what none allows is denied."""
        rules = Rules([AllowRule(clients=("web",), operations=("call",))])
        self.assertFalse(rules.rights("web", "call").none)
        self.assertTrue(rules.rights("web", "cancel").none)
        self.assertTrue(rules.rights("we", "call").none)
        self.assertTrue(rules.rights("webs", "call").none)
        self.assertTrue(rules.rights("WEB", "call").none)

    def test_host_and_procedure_of_one_rule(self) -> None:
        """A host from one rule and a procedure from another don't make a right."""
        rules = Rules(
            [
                AllowRule(clients=("a",), hosts=("web*",), procedures=("restart",)),
                AllowRule(clients=("a",), hosts=("db*",), procedures=("dump", "stat?")),
            ]
        )
        rights = rules.rights("a", "call")
        self.assertTrue(rights.cover("web1", "restart") and rights.cover("db1", "stats"))
        self.assertFalse(rights.cover("web1", "dump") or rights.cover("db1", "restart"))
        self.assertTrue(rights.cover("db1") and not rights.cover("mail1"))
        self.assertFalse(rights.everywhere)

    def test_own_jobs(self) -> None:
        """A rule about own jobs covers no others, and calls as any rule does."""
        own = AllowRule(clients=("web",), jobs="own")
        rights = Rules([own]).rights("web", "cancel")
        self.assertEqual(
            (True, False), (rights.cover("h", "p", own=True), rights.cover("h", "p", own=False))
        )
        self.assertFalse(rights.everywhere)
        self.assertTrue(Rules([own]).rights("web", "call").cover("h", "p"))
        both = Rules([own, AllowRule(clients=("web",), hosts=("h",))]).rights("web", "cancel")
        self.assertEqual(
            (True, False), (both.cover("h", "p", own=False), both.cover("x", "p", own=False))
        )

    def test_nobody_in_particular(self) -> None:
        """A client that isn't known is let in by one word only; patterns are for names."""
        self.assertTrue(Rules([AllowRule(clients=("*", "an*"))]).rights(None, "call").none)
        self.assertFalse(Rules([AllowRule(clients=("anonymous",))]).rights(None, "call").none)

    def test_newline_in_a_name(self) -> None:
        """A pattern covers the whole of a name."""
        rights = Rules([AllowRule(clients=("a",), procedures=("p",))]).rights("a", "call")
        self.assertFalse(rights.cover("h", "p\n") or rights.cover("h", "x\np"))

    @given(st.lists(st.builds(AllowRule, clients=_some, hosts=_some, procedures=_some), max_size=3))
    def test_more_rules_allow_more(self, rules: list[AllowRule]) -> None:
        """No rule takes away what another gives."""
        for client in (None, "web", "ops"):
            for host in ("web", "x"):
                one_by_one = [
                    Rules([rule]).rights(client, "call").cover(host, "ops") for rule in rules
                ]
                together = Rules(rules).rights(client, "call").cover(host, "ops")
                self.assertEqual(any(one_by_one) if rules else True, together)

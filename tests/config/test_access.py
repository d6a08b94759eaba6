"""Ports with TLS and rules for clients, as the configuration has them."""

from __future__ import annotations

from pathlib import Path

from harpcaller.config.access import AllowRule, Door
from harpcaller.config.addresses import ListenAddress
from tests.config.test_dispatcher import NEEDED, ConfigCase

TLS = """[[listener]]
address = "*:3503"
cert_file = "cert.pem"
key_file = "/key.pem"
client_ca_file = "ca.pem"
"""


class AccessTests(ConfigCase):
    def test_port_with_tls_only(self) -> None:
        """Who asks for TLS gets no plain port by default."""
        settings = self.settings(TLS)
        door = Door(
            address=ListenAddress(None, 3503),
            cert_file=Path("/etc/harpcaller/cert.pem"),
            key_file=Path("/key.pem"),
            client_ca_file=Path("/etc/harpcaller/ca.pem"),
        )
        self.assertEqual(
            ((), (door,), (door,)), (settings.listen, settings.listener, settings.doors)
        )

    def test_ports_of_both_kinds(self) -> None:
        """Plain ports stay where they are named."""
        settings = self.settings('listen = ["127.0.0.1:3502"]\n' + TLS)
        plain = ListenAddress("127.0.0.1", 3502)
        self.assertEqual([plain, ListenAddress(None, 3503)], [d.address for d in settings.doors])

    def test_rules(self) -> None:
        """All but the clients may be left out."""
        settings = self.settings(
            'tokens_file = "tokens"\n[[allow]]\nclients = ["web"]\n'
            '[[allow]]\nclients = ["ops-*"]\noperations = ["call", "cancel"]\n'
            'hosts = ["web*"]\nprocedures = ["service.*"]\njobs = "own"'
        )
        self.assertEqual(Path("/etc/harpcaller/tokens"), settings.tokens_file)
        self.assertEqual(
            (
                AllowRule(clients=("web",)),
                AllowRule(
                    clients=("ops-*",),
                    operations=("call", "cancel"),
                    hosts=("web*",),
                    procedures=("service.*",),
                    jobs="own",
                ),
            ),
            settings.allow,
        )

    def test_mistakes(self) -> None:
        """Each is told with the line of its own table."""
        self.assertEqual(
            [
                "line 6: listener.address: missing",
                "line 7: listener.cert_file: expected a path, got 1",
                "line 9: listener.key_file: missing, and cert_file is given",
                'line 15: listener.address: "*:1" stands twice',
                "line 16: listener.client_ca_file: without cert_file and key_file there is no TLS",
                "line 18: allow.clients: expected at least one, got an empty list",
                'line 19: allow.operations: expected "*" or one of call, get_result, get_status,'
                ' cancel, follow_stream, read_stream, list_hosts, list_procedures, got "calls"',
            ],
            sorted(
                self.problems(
                    NEEDED
                    + "\n\n[[listener]]\ncert_file = 1\n\n"
                    + '[[listener]]\naddress = "*:1"\ncert_file = "a"\n\n\n'
                    + '[[listener]]\naddress = "*:1"\nclient_ca_file = "c"\n'
                    + '[[allow]]\nclients = []\noperations = ["calls"]\n'
                ),
                key=lambda line: int(line.split(":")[0].removeprefix("line ")),
            ),
        )

    def test_no_way_in(self) -> None:
        """An empty list of ports is a mistake where there are no others."""
        self.assertEqual(
            ["line 4: listen: expected at least one address, got an empty list"],
            self.problems(NEEDED + "listen = []"),
        )
        self.assertEqual(1, len(self.settings("listen = []\n" + TLS).doors))

    def test_not_tables(self) -> None:
        """A single table is a likely mistake."""
        self.assertEqual(
            ["line 4: allow: expected tables, [[allow]], got a table"],
            self.problems(NEEDED + "[allow]"),
        )

    def test_settings_after_the_tables(self) -> None:
        """What has slipped into a table is told where it belongs."""
        loaded = self.read(NEEDED + TLS + "max_age = 1")
        self.assertEqual(
            ["listener.max_age: unknown setting; it belongs before the first section"],
            [str(one).partition(": line 9: ")[2] for one in loaded.warnings],
        )

"""What server and template process tell each other."""

from __future__ import annotations

from harpcaller.agent.orders import (
    End,
    Exited,
    Load,
    Loaded,
    NotAnOrder,
    NotLoaded,
    Order,
    Report,
    Start,
    Unable,
    decode_order,
    decode_report,
    encode_line,
)
from tests.house import HouseCase


class OrdersTests(HouseCase):
    def test_orders_arrive(self) -> None:
        """Each order is read as it was written."""
        orders: tuple[Order, ...] = (
            Load("/etc/harpd/harpd.py", ["/a"], ["/b"], "nobody", 5),
            Load("x"),
            Load("x", cgroups=False),
            Load("x", max_processes=20, max_memory=5_000_000),
            Start(7),
            End(7, 15, 2.5),
        )
        for order in orders:
            line = encode_line(order)
            self.assertTrue(line.endswith(b"\n"))
            self.assertEqual(order, decode_order(line[:-1]))

    def test_reports_arrive(self) -> None:
        """Each report is read as it was written."""
        reports: tuple[Report, ...] = (
            Loaded([{"name": "x"}], 2),
            Loaded([], 0, "/sys/fs/cgroup/harpd-5"),
            NotLoaded("harpd.py:5: SyntaxError"),
            Exited(7, 0, None),
            Exited(7, None, 9),
            Exited(7, None, 9, "too many"),
            Unable(7, "no more processes"),
        )
        for report in reports:
            self.assertEqual(report, decode_report(encode_line(report)[:-1]))

    def test_nonsense(self) -> None:
        """Anything else is a fault."""
        for line in (b"", b"[]", b"{}", b'{"end":1}', b'{"load":{"x":1}}', b'{"load":5}'):
            with self.subTest(line=line), self.assertRaises(NotAnOrder):
                decode_order(line)
        for line in (b"nothing", b"5", b"{}", b'{"exited":1}'):
            with self.subTest(line=line), self.assertRaises(NotAnOrder):
                decode_report(line)

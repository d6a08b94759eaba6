"""The example configuration that we ship is right, also where it is commented out."""

from __future__ import annotations

import re
from pathlib import Path

from harpcaller.config.dispatcher import Settings, load, parse
from tests.house import HouseCase

EXAMPLE = Path(__file__).parents[2] / "etc" / "harpcaller" / "harpcaller.toml"

_setting = re.compile(r"^#(?=[a-z_]+ = |\[\[)", re.MULTILINE)


class ExampleTests(HouseCase):
    def test_example_loads(self) -> None:
        """It can be copied as it is."""
        loaded = load(EXAMPLE)
        self.assertEqual((), loaded.warnings)

    def test_what_is_commented_out_loads(self) -> None:
        """Each setting is spelt right, and shows its default where it has one."""
        text, found = _setting.subn("", EXAMPLE.read_text())
        self.assertGreater(found, 10)
        loaded = parse(text.encode(), EXAMPLE)
        self.assertEqual((), loaded.warnings)
        settings = loaded.settings
        shown = load(EXAMPLE).settings
        default = Settings(stream_directory=Path("a"), host_db=Path("b"), host_db_script=Path("c"))
        for name in (
            "verify_hostname",
            "default_timeout_seconds",
            "max_exec_time_seconds",
            "host_db_refresh_seconds",
            "host_db_script_timeout_seconds",
            "log_handlers",
            "log_format",
            "durability",
            "connect_timeout_seconds",
            "agent_idle_timeout_seconds",
            "agent_connection_age_seconds",
            "idle_connections_per_agent",
            "idle_connections",
            "shutdown_grace_seconds",
            "client_idle_timeout_seconds",
            "max_request_size",
        ):
            self.assertEqual(getattr(default, name), getattr(settings, name), name)
            self.assertEqual(getattr(default, name), getattr(shown, name), name)

    def test_every_setting_is_in_the_example(self) -> None:
        """What the daemon knows, an operator can find."""
        text = _setting.sub("", EXAMPLE.read_text())
        lines = parse(text.encode(), EXAMPLE).settings.source.lines
        known = {name.removesuffix("_seconds") for name in Settings.__annotations__} - {"source"}
        self.assertEqual(set(), known - {str(place[0]) for place in lines})

    def test_every_setting_is_explained(self) -> None:
        """And find out what it means."""
        manual = (EXAMPLE.parents[2] / "doc" / "configuration.rst").read_text()
        text = _setting.sub("", EXAMPLE.read_text())
        for place in parse(text.encode(), EXAMPLE).settings.source.lines:
            self.assertIn(str(place[-1] if isinstance(place[-1], str) else place[-2]), manual)

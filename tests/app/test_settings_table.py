"""The settings page's table: every setting with its origin and meaning, and no password."""

from __future__ import annotations

import json
from pathlib import Path

from pxeforge.app.settings import Settings, load_settings
from pxeforge.app.settings_table import table, write_table
from pxeforge.services.context import Context
from pxeforge.services.settings_shown import FILE, settings_in_force


def test_every_setting_is_told_with_where_it_was_set(ctx: Context, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text('interfaces = ["eth1"]\n[mirrors.debian]\nurl = "http://ann:hunter2@mirror.example/debian"\n')
    environment = {"PXEFORGE_BOOT_PORT": "8082", "PXEFORGE_MIRROR_PROXY": "http://bob:swordfish@proxy.example:3128"}
    command_line = {"tftp_port": 6969, "database": "postgresql://pxe@db.example/pxe?password=correcthorse"}
    settings = load_settings(command_line, config=config, environment=environment)
    rows = {row["name"]: row for row in table(ctx, settings)}
    assert set(rows) == set(Settings.model_fields)
    told = {
        name: (rows[name]["value"], rows[name]["origin"]) for name in ("interfaces", "boot_port", "tftp_port", "dhcp")
    }
    assert told == {
        "interfaces": (["eth1"], str(config)), "boot_port": (8082, "environment"),
        "tftp_port": (6969, "command line"), "dhcp": ("proxy", "default"),
    }  # fmt: skip
    assert rows["boot_port"]["default"] == 8080
    whole = json.dumps(list(rows.values()))
    assert "hunter2" not in whole
    assert "swordfish" not in whole
    assert "correcthorse" not in whole
    assert "db.example" in whole
    assert "mirror.example" in whole


def test_the_table_is_written_for_its_owner_only_and_read_back(ctx: Context) -> None:
    assert settings_in_force(ctx) == []
    settings = load_settings({}, environment={})
    write_table(ctx, settings)
    assert (ctx.data_dir / FILE).stat().st_mode & 0o777 == 0o600
    assert settings_in_force(ctx) == table(ctx, settings)


def test_a_damaged_table_shows_nothing_and_breaks_nothing(ctx: Context) -> None:
    for content in ("", "[]", "{}", '{"settings": [1, {"name": "x"}]}', '{"settings": null}'):
        (ctx.data_dir / FILE).write_text(content)
        assert settings_in_force(ctx) == []

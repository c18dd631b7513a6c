from __future__ import annotations

from pathlib import Path

import pytest

from pxeforge.engine.release import Release, ReleaseProblem, choose_release, load_releases, parse_release

TOP = Path(__file__).resolve().parents[2]
TEXT = """\
name: debian-12-zed
summary: s
codename: zed
suite: bookworm
match: {id: debian, version: "12"}
packages: {db: [mariadb-server]}
units: {db: [mariadb]}
options: {db: {log_dir: /var/log/mysql}}
"""
BOOKWORM = {"os": {"id": "debian", "version": "12", "codename": "bookworm", "name": "Debian GNU/Linux 12 (bookworm)"}}


def parsed(text: str = TEXT, name: str = "debian-12-zed") -> Release:
    return parse_release(text, f"releases/{name}.yaml", name)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("codename: zed\n", "", "releases/debian-12-zed.yaml:1: codename is missing: add it"),
        ("name: debian-12-zed", "name: zed", ":1: the release pack is called zed in the file debian-12-zed.yaml"),
        ("[mariadb-server]", "[MariaDB]", ":6: packages.db.0 is 'MariaDB'"),
        ("packages:", "pakages:", ":6: pakages is no known key: correct its spelling or remove it"),
        ("{id: debian, ", "{idd: debian, ", ":5: match.id is missing"),
        ("units: {db: [mariadb]}", "units: [db]", ":7: units is ['db']"),
    ],
)
def test_an_error_names_file_line_and_fix(old: str, new: str, expected: str) -> None:
    assert old in TEXT
    with pytest.raises(ReleaseProblem) as caught:
        parsed(TEXT.replace(old, new, 1))
    assert expected in str(caught.value)


def test_a_host_gets_the_pack_that_its_system_fits() -> None:
    packs = [parsed(), parsed(TEXT.replace("zed", "epoxy").replace('"12"', '"13"'), "debian-12-epoxy")]
    assert choose_release(packs, BOOKWORM) == packs[0]
    assert choose_release(packs, {"os": {"id": "debian", "version": "13"}}) == packs[1]


@pytest.mark.parametrize(
    ("facts", "wanted", "expected"),
    [
        (
            {"os": {"id": "ubuntu", "version": "24.04"}},
            None,
            "it runs ubuntu 24.04, for which there is no release pack",
        ),
        ({}, None, "it runs an unknown system, for which there is no release pack: known are debian-12-zed, other"),
        ({"os": "junk"}, None, "it runs an unknown system"),
        (BOOKWORM, "other", "wants other: install it with that system"),
        (BOOKWORM, "none", "there is no release pack none: known are debian-12-zed, other"),
    ],
)
def test_a_host_without_a_pack_is_told_why(facts: dict[str, object], wanted: str | None, expected: str) -> None:
    packs = [parsed(), parsed(TEXT.replace("debian-12-zed", "other").replace('"12"', '"11"'), "other")]
    assert expected in str(choose_release(packs, facts, wanted))


def test_of_two_packs_for_one_system_the_blueprint_has_to_name_one() -> None:
    packs = [parsed(), parsed(TEXT.replace("debian-12-zed", "twin"), "twin")]
    assert "which debian-12-zed, twin fit: name one of them" in str(choose_release(packs, BOOKWORM))
    assert choose_release(packs, BOOKWORM, "twin") == packs[1]


def test_the_operators_pack_wins_and_all_faults_are_told_at_once(tmp_path: Path) -> None:
    mine, shipped = tmp_path / "mine", tmp_path / "shipped"
    mine.mkdir()
    shipped.mkdir()
    (mine / "debian-12-zed.yaml").write_text(TEXT.replace("summary: s", "summary: my own"))
    (shipped / "debian-12-zed.yaml").write_text(TEXT)
    assert load_releases([mine, shipped])["debian-12-zed"].summary == "my own"
    (shipped / "a.yaml").write_text("name: a")
    (shipped / "b.yaml").write_bytes(b"\xff")
    with pytest.raises(ReleaseProblem) as caught:
        load_releases([mine, shipped])
    assert "a.yaml:1: summary is missing" in str(caught.value)
    assert "b.yaml:1: cannot be read" in str(caught.value)


def test_the_shipped_packs_fit_the_systems_that_they_name() -> None:
    packs = load_releases([TOP / "releases"])
    for name, version in (("debian-12-zed", "12"), ("debian-13-2025.1", "13")):
        assert choose_release(packs.values(), {"os": {"id": "debian", "version": version}}) == packs[name]

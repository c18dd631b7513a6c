from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pxeforge.engine.document import Document, DocumentProblem, Finding, parse_document
from pxeforge.engine.plan_problem import PlanProblem
from pxeforge.engine.role_order import role_order
from pxeforge.engine.roles import RoleProblem, Selector, load_roles, parse_role, read_roles

GOOD = """\
name: web
summary: a web server
variables:
  port: {type: int, default: 80}
tasks:
  - name: install
    steps:
      - packages: {names: [nginx]}
      - wait: {tcp: {host: "{{ host.address }}", port: "{{ vars.port }}"}}
"""


def problem_of(text: str, **templates: str) -> str:
    with pytest.raises(RoleProblem) as caught:
        parse_role(text, "web/role.yaml", "web", templates)
    return str(caught.value)


def test_a_good_role_is_read_with_defaults() -> None:
    role = parse_role(GOOD, "web/role.yaml", "web", {})
    assert [step.name for step in role.tasks[0].steps] == ["packages", "wait"]
    assert role.tasks[0].requires is None
    assert role.variables["port"].default == 80


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("summary: a web server\n", "", "web/role.yaml:1: summary is missing: add it"),
        ("type: int", "type: float", "web/role.yaml:4: variables.port.type is 'float'"),
        ("default: 80", "default: many", "web/role.yaml:4: variables.port is"),
        ("names: [nginx]", "names: [nginx], colour: red", "web/role.yaml:8: colour is no known key: correct its"),
        ("names: [nginx]", "names: [NGINX]", "web/role.yaml:8: names.0 is 'NGINX'"),
        ("packages:", "package:", "web/role.yaml:8: a step has exactly one type, not package: give it one of packages"),
        ("host.address", "hots.address", "web/role.yaml:9: the value asks for hots, which no template gets"),
        ("{{ vars.port }}", "{{ vars.port", "web/role.yaml:9: the value is no template"),
        ("name: web", "name: wep", "web/role.yaml:1: the role is called wep in folder web: give both the same name"),
        ("    steps:", "    after: [web]\n    steps:", "web/role.yaml:7: 'web' selects nothing: a selector is"),
        ("  - name: install", "  - name: install\n    name: again", "web/role.yaml:7: 'name' is given twice"),
        ("name: web", "name: [web", "web/role.yaml:2: not YAML"),
    ],
)
def test_an_error_names_file_line_and_fix(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert expected in problem_of(GOOD.replace(old, new, 1))


def test_all_errors_of_a_role_are_reported_at_once() -> None:
    text = GOOD.replace("nginx", "NGINX").replace("vars.port", "wars.port")
    assert len(problem_of(text).splitlines()) == 2


def test_a_template_must_be_there_and_parse() -> None:
    text = GOOD + '      - file: {path: /etc/x, template: "x.cnf"}\n'
    assert "web/role.yaml:10: there is no template x.cnf: put it into templates/" in problem_of(text)
    told = problem_of(text, **{"x.cnf": "a\n{% if %}"})
    assert "web/templates/x.cnf:2: template x.cnf is no template (" in told
    told = problem_of(text, **{"x.cnf": "a\n\n{{ nothing }}"})
    assert "web/templates/x.cnf:3: template x.cnf asks for nothing, which no template gets: use at, groups" in told


def test_names_of_other_roles_are_checked_across_roles(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    more = "  - name: join\n    after: ['role:db']\n    steps: [{wait: {shell: 'true'}}]\n"
    (tmp_path / "web/role.yaml").write_text(GOOD.replace("tasks:", "requires: [base]\ntasks:") + more)
    with pytest.raises(RoleProblem) as caught:
        load_roles([tmp_path])
    assert "role web names role base: no such role" in str(caught.value)
    assert "role.yaml:11: task join waits for role db: no such role" in str(caught.value)


def test_a_broken_role_is_set_aside_with_its_reason_and_the_others_can_be_used(tmp_path: Path) -> None:
    for folder, name, text in (
        ("shipped", "web", GOOD),
        ("shipped", "proxy", GOOD.replace("name: web", "name: proxy")),
        ("mine", "bad", "name: bad\nsumary: s\n"),
        ("mine", "another", GOOD.replace("name: web", "name: another").replace("default: 80", "default: 81")),
    ):
        (tmp_path / folder / name).mkdir(parents=True)
        (tmp_path / folder / name / "role.yaml").write_text(text)
    found = read_roles([tmp_path / "mine", tmp_path / "shipped"])
    assert list(found) == ["proxy", "web"]
    assert list(found.broken) == ["another", "bad"]  # the shipped ones are not to blame for a variable of the other
    assert "variable port differs from the one in role proxy" in str(found.broken["another"])
    with pytest.raises(
        PlanProblem, match=r"^role bad is broken: .*bad/role.yaml:1: summary is missing: add it \(and 1 mo"
    ):
        role_order(["bad"], found)
    assert role_order(["web"], found) == ("web",)


def test_an_earlier_folder_hides_a_role_of_a_later_one(tmp_path: Path) -> None:
    for folder, summary in (("mine", "my own"), ("shipped", "a web server")):
        (tmp_path / folder / "web").mkdir(parents=True)
        (tmp_path / folder / "web/role.yaml").write_text(GOOD.replace("a web server", summary))
    assert load_roles([tmp_path / "mine", tmp_path / "shipped"])["web"].summary == "my own"


def test_roles_are_read_anew_once_a_file_of_them_changed_came_or_went(tmp_path: Path) -> None:
    web, page = tmp_path / "web/role.yaml", tmp_path / "web/templates/page"
    page.parent.mkdir(parents=True)
    web.write_text(GOOD)
    first = load_roles([tmp_path])
    assert load_roles([tmp_path])["web"] is first["web"]
    del first["web"]  # a dictionary of the caller's own
    web.write_text(GOOD.replace("a web server", "A web server"))  # as long as before
    assert load_roles([tmp_path])["web"].summary == "A web server"
    page.write_text("{% if %}")
    with pytest.raises(RoleProblem, match="template page is no template"):
        load_roles([tmp_path])
    page.unlink()
    assert set(load_roles([tmp_path])) == {"web"}
    web.unlink()
    assert load_roles([tmp_path]) == {}


def test_two_roles_must_agree_on_a_variable(tmp_path: Path) -> None:
    for name, port in (("web", "80"), ("proxy", "81")):
        (tmp_path / name).mkdir()
        text = GOOD.replace("name: web", f"name: {name}").replace("default: 80", f"default: {port}")
        (tmp_path / name / "role.yaml").write_text(text)
    with pytest.raises(RoleProblem, match="variable port differs from the one in role proxy: declare both alike"):
        load_roles([tmp_path])


def test_selectors_are_read() -> None:
    assert Selector.parse("role:db") == Selector("db", None)
    assert Selector.parse("first(role:db.join)") == Selector("db", "join", "first")
    assert Selector.parse("all(role:db)") == Selector("db", None, "all")
    assert Selector.parse("all") == Selector(None, None, "all")
    assert Selector.parse("quorum(2, role:db.join)") == Selector("db", "join", "quorum", 2)
    for bad in (
        "db", "first(role:db", "role:db)", "role:", "role:db.x.y", "quorum(role:db)", "quorum(0, role:db)",
        "first(2, role:db)", "all(2, role:db)", "most(role:db)", "all()",
    ):  # fmt: skip
        with pytest.raises(ValueError, match="a selector is"):
            Selector.parse(bad)


_names = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)


@settings(deadline=None)  # a busy machine is no failure
@given(_names, st.none() | _names, st.sampled_from(["each", "all", "first", "quorum"]), st.integers(1, 99999))
def test_a_selector_that_is_written_is_read_as_the_same(
    role: str, task: str | None, way: Literal["each", "all", "first", "quorum"], number: int
) -> None:
    selector = Selector(role, task, way, number if way == "quorum" else 0)
    assert Selector.parse(str(selector)) == selector


def test_a_script_and_a_playbook_must_be_there() -> None:
    text = GOOD + "      - probe: {script: look.py}\n      - ansible: {file: site.yml}\n"
    told = problem_of(text)
    assert "web/role.yaml:10: there is no script look.py: put it into checks/ (there: none)" in told
    assert "web/role.yaml:11: there is no file site.yml: put it into playbooks/ (there: none)" in told


def test_a_role_that_only_removes_is_no_role() -> None:
    text = GOOD.replace("tasks:", "remove:")
    assert "the role has neither tasks nor verify: add what it is to do" in problem_of(text)


def test_what_stays_of_a_role_is_said_beside_what_removes_it_or_instead() -> None:
    removing = GOOD + "remove:\n  - {name: away, steps: [{hostname: {name: x}}]}\n"
    for text, names in ((GOOD, ["leave"]), (removing, ["away"])):
        role = parse_role(text + "stays: its data\n", "web/role.yaml", "web", {"web.conf": ""})
        assert role.stays == "its data"
        assert [task.name for task in role.tasks if task.kind == "remove"] == names


def test_files_beside_a_role_are_read_but_not_what_python_leaves(tmp_path: Path) -> None:
    for name, content in (("checks/a.py", "1"), ("checks/__pycache__/a.pyc", "x"), ("playbooks/s.yml", "- {}")):
        (tmp_path / "web" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "web" / name).write_text(content)
    (tmp_path / "web/role.yaml").write_text(GOOD)
    role = load_roles([tmp_path])["web"]
    assert (role.checks, role.playbooks) == ({"a.py": "1"}, {"s.yml": "- {}"})


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    document: Document | None = None
    findings: tuple[Finding, ...] = ()
    try:
        document = parse_document(text, "f")
    except DocumentProblem as problem:
        findings = problem.findings
    assert (document is None) == bool(findings)
    assert all(finding.line >= 1 and str(finding).startswith("f:") for finding in findings)

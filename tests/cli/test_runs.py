"""`pxeforge plan|deploy|run|status|secret` on a data directory without a server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pxeforge.app.assembly import open_context
from pxeforge.app.settings import Settings
from pxeforge.cli.main import main
from pxeforge.services import claims, deploys, hosts, runs
from pxeforge.services.context import Context
from tests.services.small_roles import add_host, do_next, give_roles, work


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """One host with a database."""
    monkeypatch.setenv("PXEFORGE_OPERATOR_DIR", str(tmp_path / "etc"))
    ctx = open_context(Settings(data_dir=tmp_path / "data", operator_dir=tmp_path / "etc"), upgrade=True)
    give_roles(ctx)
    add_host(ctx, 1, "tdatabase")
    yield ctx
    ctx.database.close()


def cli(site: Context, *words: str) -> Result:
    return CliRunner().invoke(main, ["--data-dir", str(site.data_dir), *words])


def host_id(site: Context) -> str:
    return str(hosts.show(site, "n1")["id"])


def test_a_dry_run_shows_the_difference_of_each_file_and_no_secret(site: Context) -> None:
    """As an agent would answer meanwhile."""
    secret: list[str] = []

    def agent() -> None:
        while len(secret) < 2:
            task = claims.claim(site, host_id(site))
            if task is None:
                continue
            assert task["check"] is True
            secret.extend(task["secrets"] or [""])
            value = (task["secrets"] or ["x"])[0]
            steps = [
                {"name": "config", "type": "file", "status": "changed", "message": "the content differs",
                 "diff": f"--- /etc/tdb.conf\n+++ /etc/tdb.conf\n+password = {value}\n"},
            ]  # fmt: skip
            from pxeforge.services import task_results

            task_results.finish(
                site, host_id(site), task["task_id"], task["fence"], {"status": "changed", "steps": steps}
            )

    thread = threading.Thread(target=agent)
    thread.start()
    done = cli(site, "deploy", "--check", "--diff")
    thread.join(timeout=30)
    assert done.exit_code == 0, done.output
    assert "+++ /etc/tdb.conf" in done.output
    assert "+password = [secret]" in done.output
    assert secret[-1] not in done.output
    assert hosts.show(site, "n1")["state"] == "registered"


def test_why_and_show_tell_who_has_the_task(site: Context) -> None:
    run = deploys.deploy(site, who="ann")["id"]
    task = claims.claim(site, host_id(site))
    assert task is not None
    said = [{"step": "install", "status": "running", "message": "Unpacking tdb-server"}]
    claims.renew(site, host_id(site), task["task_id"], task["fence"], said)
    told = cli(site, "run", "why", run, "tdatabase.configure@n1").output
    assert "tdatabase.install@n1: n1 has it for" in told
    assert "last said: install: Unpacking tdb-server" in told
    assert "install: Unpacking tdb-server" in cli(site, "run", "show", run).output
    assert cli(site, "run", "why", run, "nothing").exit_code == 1


def test_status_is_an_exit_code_and_names_what_is_bad(site: Context) -> None:
    assert cli(site, "status").exit_code == 0
    deploys.deploy(site, who="ann")
    work(site, host_id(site))
    deploys.verify(site, who="ann")
    do_next(site, host_id(site), "failed", "connection refused")
    done = cli(site, "status")
    assert done.exit_code == 1
    assert "connection refused" in done.output
    assert json.loads(cli(site, "status", "n1", "--json").output)[0]["state"] == "bad"
    assert "tdatabase" in cli(site, "status", "--deployed").output
    assert cli(site, "status", "--drift").exit_code == 0


def test_a_plan_tells_what_was_left_on_hosts(site: Context) -> None:
    deploys.deploy(site, who="ann")
    work(site, host_id(site))
    hosts.unassign(site, "n1", ["tdatabase"], who="ann")
    add_host(site, 2, "tdatabase")
    assert "left on n1: tdatabase: --remove-unassigned takes it away" in cli(site, "plan").output
    assert "tdatabase.purge" in cli(site, "plan", "--remove-unassigned").output


def test_a_secret_is_made_anew_after_a_question(site: Context) -> None:
    deploys.deploy(site, who="ann")
    work(site, host_id(site))
    unknown = cli(site, "secret", "rotate", "nothing")
    assert (unknown.exit_code, unknown.stderr.count("\n")) == (1, 1)
    assert "there is no secret 'nothing'" in unknown.stderr
    before = cli(site, "secret", "show", "tdb_admin", "--reveal").output
    asked = cli(site, "secret", "rotate", "tdb_admin")
    assert (asked.exit_code, "without a terminal say --yes" in asked.stderr, asked.stdout) == (2, True, "")
    assert cli(site, "secret", "show", "tdb_admin", "--reveal").output == before
    done = cli(site, "secret", "rotate", "tdb_admin", "--yes")
    assert "tdatabase.configure@n1" in done.output
    assert "Now run: pxeforge deploy" in done.output
    assert "0 h" in cli(site, "secret", "list").output


def test_a_host_that_reported_no_key_is_not_rearmed_over_ssh(site: Context) -> None:
    for words in ((), ("--ssh-user", "ops")):  # the remedy of a silent agent is said without a user
        done = cli(site, "host", "rearm", "n1", *words)
        assert done.exit_code == 1
        assert "has reported no SSH host key" in done.output


def test_a_deploy_that_begins_in_the_middle_says_what_it_leaves_out(site: Context) -> None:
    add_host(site, 2, "tservice")
    shown = cli(site, "plan", "--from", "tservice")
    assert "left out, as it stands before tservice: tdatabase.configure@n1\n" in shown.output
    assert "warning: no deploy has done tdatabase.install@n1, tdatabase.configure@n1 yet" in shown.stderr
    assert json.loads(cli(site, "plan", "--json").output)["left_out"] == []
    begun = cli(site, "deploy", "--from", "tservice", "--no-wait", "--json")
    run = json.loads(begun.output)
    assert [task["planned_id"] for task in run["tasks"]] == ["tservice.install@n2"]
    assert [one["task"] for one in run["left_out"]] == ["tdatabase.install@n1", "tdatabase.configure@n1"]
    cli(site, "run", "cancel", run["id"])
    first = cli(site, "deploy", "--from", "tdatabase", "--no-wait")
    assert "nothing stands before tdatabase: nothing is left out" in first.output
    cli(site, "run", "cancel", runs.list_runs(site)[0]["id"])
    unknown = cli(site, "deploy", "--from", "tservise", "--no-wait")
    assert (unknown.exit_code, "did you mean tservice" in unknown.stderr) == (1, True)

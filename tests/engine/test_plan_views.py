from __future__ import annotations

from pxeforge.engine.plan import Plan, PlanHost, PlanServer, compile_plan
from pxeforge.engine.plan_views import plan_dot, plan_packages, plan_restarts, plan_text, predecessors
from pxeforge.engine.roles import parse_role

AGENT = """\
name: agent
summary: s
tasks:
  - name: install
    requires: []
    steps: [{packages: {names: [ovs, agent]}}, {packages: {names: [old], state: absent}}]
  - name: config
    steps: [{name: conf, file: {path: /etc/agent, content: x}}]
  - name: start
    interrupts: tenants
    steps: [{unit: {name: ovs, running: true, restart_on: [config, install]}}]
  - name: log
    steps:
      - unit: {name: rsyslog, running: true, restart_on: [agent.config.conf]}
      - unit: {name: cron, running: true}
"""
WAITER = """\
name: waiter
summary: s
tasks: [{name: go, after: ["role:agent", "first(role:agent.install)"], steps: [{wait: {shell: "true"}}]}]
"""


def planned(count: int = 2) -> Plan:
    texts = {"agent": AGENT, "waiter": WAITER}
    roles = {name: parse_role(text, f"{name}/role.yaml", name, {}) for name, text in texts.items()}
    hosts = [PlanHost(host_id=str(number), name=f"h{number}", roles=("agent",)) for number in range(count)]
    hosts.append(PlanHost(host_id="w", name="w", roles=("waiter",)))
    return compile_plan(hosts, roles, server=PlanServer(address="10.0.0.1", boot_url="http://10.0.0.1"))


def test_packages_are_told_per_host() -> None:
    assert plan_packages(planned()) == {"h0": ["ovs", "agent"], "h1": ["ovs", "agent"]}


def test_restarts_are_told_and_those_first_that_cut_tenants_off() -> None:
    restarts = plan_restarts(planned())
    assert [(one.host, one.unit, one.interrupts) for one in restarts] == [
        ("h0", "ovs", "tenants"), ("h1", "ovs", "tenants"), ("h0", "rsyslog", "nobody"), ("h1", "rsyslog", "nobody"),
    ]  # fmt: skip
    assert restarts[0].when == ("agent.config", "agent.install")


def test_the_text_ends_with_packages_and_restarts_of_hosts_that_are_alike() -> None:
    text = plan_text(planned(6))
    assert "packages\n  h0, h1, h2, h3 and 2 more: agent ovs\n" in text
    assert "  h0, h1, h2, h3 and 2 more: ovs (on agent.config, agent.install)  [interrupts tenants]\n" in text
    assert "  agent.start  [interrupts tenants; after agent.config]\n" in text
    assert "  waiter.go  [after role:agent, agent.install@h0]\n" in text


def test_barriers_are_drawn_as_points_of_their_own() -> None:
    dot = plan_dot(planned())
    assert '"role:agent" [shape=ellipse];' in dot
    assert '"agent.log@h1" -> "role:agent";' in dot
    assert '"role:agent" -> "waiter.go@w";' in dot
    assert dot.count("{") == dot.count("}")


def test_predecessors_go_through_barriers_and_of_very_many_one_stands_for_all() -> None:
    assert predecessors(planned())["waiter.go@w"] == ["agent.log@h0", "agent.log@h1", "agent.install@h0"]
    assert predecessors(planned(121))["waiter.go@w"] == ["agent.log@h0", "agent.install@h0"]

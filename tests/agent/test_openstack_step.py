from __future__ import annotations

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pxeforge.agent import keystone_session
from pxeforge.agent.openstack_step import _pool, _same
from pxeforge.engine.step_types import checked_params

from . import fake_cloud
from .fake_cloud import FakeCloud
from .fake_host import do

NETWORKS = "/network/v2.0/networks"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeCloud, str]]:
    monkeypatch.setattr(keystone_session, "_PAUSE_S", 0.01)
    fake = FakeCloud()
    url = fake.start()
    yield fake, url
    fake.stop()


def params(url: str, *resources: dict[str, Any]) -> dict[str, Any]:
    auth = {"url": url, "user": "admin", "password": "admin-password", "project": "admin"}
    return checked_params("openstack", {"auth": auth, "resources": list(resources), "deadline_s": 0.05})


FLAVOR = {"kind": "flavor", "name": "small", "properties": {"ram": 512, "vcpus": 1, "disk": 1}}
EXTERNAL = {
    "kind": "network",
    "name": "external",
    "properties": {"external": True, "type": "flat", "physical_network": "provider"},
}
SUBNET = {
    "kind": "subnet",
    "name": "inside",
    "properties": {"network": "inside", "cidr": "10.0.0.0/24", "pools": ["10.0.0.10-10.0.0.20"]},
}
WHOLE: list[dict[str, Any]] = [
    {**FLAVOR, "properties": {**FLAVOR["properties"], "public": False, "extra_specs": {"hw:mem_page_size": "large"}}},
    EXTERNAL,
    {"kind": "network", "name": "inside"},
    SUBNET,
    {"kind": "router", "name": "way-out", "properties": {"external_network": "external"}},
    {"kind": "router_interface", "properties": {"router": "way-out", "subnet": "inside"}},
    {"kind": "security_group", "name": "web", "properties": {"description": "for web servers"}},
    {
        "kind": "security_group_rule",
        "properties": {
            "security_group": "web", "direction": "ingress",
            "protocol": "tcp", "port_range_min": 80, "port_range_max": 80,
        },
    },
    {"kind": "keypair", "name": "mine", "properties": {"public_key": "ssh-ed25519 AAAA me"}},
    {"kind": "aggregate", "name": "rack1", "properties": {"zone": "az1", "hosts": ["n1", "n2"]}},
    {"kind": "volume_type", "name": "fast", "properties": {"extra_specs": {"volume_backend_name": "lvm"}}},
    {"kind": "quota", "properties": {"project": "admin", "instances": 40, "network": 7, "volumes": 4}},
    {"kind": "volume", "name": "data", "properties": {"size": 2, "type": "fast"}},
]  # fmt: skip


def test_all_is_made_once_and_a_second_run_changes_nothing(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    result = do(tmp_path, "openstack", params(url, *WHOLE))
    assert result["status"] == "changed", result
    assert fake.logins <= 3
    (subnet,) = fake.things["/network/v2.0/subnets"].values()
    (router,) = fake.things["/network/v2.0/routers"].values()
    by_name = {row["name"]: row["id"] for row in fake.things[NETWORKS].values()}
    assert (subnet["network_id"], subnet["ip_version"]) == (by_name["inside"], 4)
    assert subnet["allocation_pools"] == [{"start": "10.0.0.10", "end": "10.0.0.20"}]
    assert router["external_gateway_info"] == {"network_id": by_name["external"]}
    (aggregate,) = fake.things["/compute/os-aggregates"].values()
    assert (aggregate["availability_zone"], aggregate["hosts"]) == ("az1", ["n1", "n2"])
    assert fake.quotas == {"compute": {"instances": 40, "cores": 20}, "network": {"floatingip": 50, "network": 7},
                           "volume": {"volumes": 4, "gigabytes": 1000}}  # fmt: skip
    fake.writes.clear()
    assert do(tmp_path, "openstack", params(url, *WHOLE))["status"] == "ok"
    assert fake.writes == []


def test_a_dry_run_tells_all_and_writes_nothing(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    image = {"kind": "image", "name": "tiny", "file": "/not/built/yet.img"}
    result = do(tmp_path, "openstack", params(url, *WHOLE, image), check_only=True)
    assert result["status"] == "changed"
    for words in ("create flavor small", "add subnet inside to router way-out", "upload image tiny"):
        assert words in result["message"]
    assert fake.writes == []


def test_what_may_change_is_changed(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    do(tmp_path, "openstack", params(url, EXTERNAL))
    shared = {**EXTERNAL, "properties": {**EXTERNAL["properties"], "shared": True}}
    result = do(tmp_path, "openstack", params(url, shared))
    assert (result["status"], result["message"]) == ("changed", "change shared of network external")
    assert next(iter(fake.things[NETWORKS].values()))["shared"] is True


def test_what_cannot_change_is_told_and_left_alone(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    do(tmp_path, "openstack", params(url, FLAVOR))
    fake.writes.clear()
    bigger = {**FLAVOR, "properties": {**FLAVOR["properties"], "ram": 1024}}
    result = do(tmp_path, "openstack", params(url, bigger))
    assert result["status"] == "failed"
    assert "flavor small cannot be changed (ram is 512, not 1024)" in result["message"]
    assert fake.writes == []


def test_an_image_goes_up_whole_and_another_content_is_noticed(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    (tmp_path / "guest.img").write_bytes(b"\xffdisk")
    image = {"kind": "image", "name": "tiny", "file": str(tmp_path / "guest.img")}
    assert do(tmp_path, "openstack", params(url, image))["status"] == "changed"
    (row,) = fake.things["/image/v2/images"].values()
    assert (row["status"], row["disk_format"]) == ("active", "raw")
    assert do(tmp_path, "openstack", params(url, image))["status"] == "ok"
    (tmp_path / "guest.img").write_bytes(b"\xffanother")
    result = do(tmp_path, "openstack", params(url, image))
    assert "image tiny has another content than" in result["message"]


@pytest.fixture
def shop() -> Iterator[str]:
    """The address of a server that has large.img, and is a proxy too."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


CONTENT = b"\xfflarge" * 400_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_an_image_comes_from_an_address_once_and_is_what_was_asked_for(
    tmp_path: Path, cloud: tuple[FakeCloud, str], shop: str
) -> None:
    fake, url = cloud
    image = {"kind": "image", "name": "debian", "url": f"{shop}/large.img", "sha256": DIGEST}
    wrong = {**image, "sha256": "0" * 64}
    assert "gives 2400000 bytes with sha256" in do(tmp_path, "openstack", params(url, wrong))["message"]
    assert fake.things["/image/v2/images"] == {}
    assert do(tmp_path, "openstack", params(url, image), check_only=True)["status"] == "changed"
    result = do(tmp_path, "openstack", params(url, image))
    assert result["status"] == "changed", result
    (row,) = fake.things["/image/v2/images"].values()
    assert (row["status"], row["os_hash_value"]) == ("active", hashlib.sha512(CONTENT).hexdigest())
    fake.writes.clear()
    assert do(tmp_path, "openstack", params(url, image))["status"] == "ok"
    assert fake.writes == []
    assert f"is not the one of {shop}/large.img" in do(tmp_path, "openstack", params(url, wrong))["message"]
    assert not list(tmp_path.rglob("pxeforge-image-*"))


def test_an_image_comes_by_the_proxy_that_was_named(tmp_path: Path, cloud: tuple[FakeCloud, str], shop: str) -> None:
    image = {"kind": "image", "name": "debian", "url": "http://nowhere.invalid/large.img", "sha256": DIGEST}
    assert "cannot be fetched" in do(tmp_path, "openstack", params(cloud[1], image))["message"]
    by_proxy = {**params(cloud[1], image), "proxy": shop}
    assert do(tmp_path, "openstack", by_proxy)["status"] == "changed"


def test_what_is_to_be_absent_goes_and_stays_away(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    do(tmp_path, "openstack", params(url, *WHOLE))
    gone = [
        {"kind": "router_interface", "properties": {"router": "way-out", "subnet": "inside"}, "state": "absent"},
        {"kind": "router", "name": "way-out", "state": "absent"},
        {"kind": "security_group_rule", "properties": WHOLE[7]["properties"], "state": "absent"},
        {"kind": "keypair", "name": "mine", "state": "absent"},
    ]
    assert do(tmp_path, "openstack", params(url, *gone))["status"] == "failed"  # its router is there no more
    assert fake.things["/network/v2.0/routers"] == {}
    assert do(tmp_path, "openstack", params(url, *gone[1:]))["status"] in ("ok", "changed")
    assert fake.things["/compute/os-keypairs"] == {}
    assert fake.things["/network/v2.0/security-group-rules"] == {}


def test_services_of_a_host_that_goes_are_forgotten_and_no_others(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    for path, binary in (("/compute/os-services", "nova-compute"), ("/network/v2.0/agents", "neutron-l3-agent")):
        for host in ("n1", "n2"):
            fake.things[path][f"{host}-{binary}"] = {"id": f"{host}-{binary}", "host": host, "binary": binary}
        fake.things[path]["other"] = {"id": "other", "host": "n2", "binary": "another"}
    gone = [
        {"kind": "compute_service", "name": "n2", "properties": {"binary": "nova-compute"}, "state": "absent"},
        {"kind": "network_agent", "name": "n2", "properties": {"binary": "neutron-l3-agent"}, "state": "absent"},
    ]
    assert do(tmp_path, "openstack", params(url, *gone), check_only=True)["status"] == "changed"
    assert fake.writes == []
    result = do(tmp_path, "openstack", params(url, *gone))
    assert result["message"] == "forget nova-compute on n2; forget neutron-l3-agent on n2"
    assert sorted(fake.things["/compute/os-services"]) == ["n1-nova-compute", "other"]
    assert sorted(fake.things["/network/v2.0/agents"]) == ["n1-neutron-l3-agent", "other"]
    assert do(tmp_path, "openstack", params(url, *gone))["status"] == "ok"


VOLUMES = "/volume/volumes"


def volume(size: int, **more: Any) -> dict[str, Any]:
    return {"kind": "volume", "name": "data", "properties": {"size": size, **more}}


def test_a_volume_is_waited_for_and_grows_but_never_shrinks(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    fake.volume_states = ["creating", "downloading"]
    fake.things["/image/v2/images"]["i1"] = {"id": "i1", "name": "tiny", "status": "active"}
    assert do(tmp_path, "openstack", params(url, volume(2, image="tiny")))["status"] == "changed"
    (row,) = fake.things[VOLUMES].values()
    assert (row["imageRef"], row["size"], row["status"]) == ("i1", 2, "available")
    assert do(tmp_path, "openstack", params(url, volume(2, image="tiny")))["status"] == "ok"
    result = do(tmp_path, "openstack", params(url, volume(3)))
    assert (result["status"], result["message"], row["size"]) == ("changed", "extend volume data to 3 GB", 3)
    result = do(tmp_path, "openstack", params(url, volume(1)))
    assert "volume data has 3 GB and cannot shrink to 1" in result["message"]


def test_a_volume_that_cinder_cannot_make_is_told(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    fake.volume_states = ["creating", "error"]
    result = do(tmp_path, "openstack", params(url, volume(2)))
    assert (result["status"], "volume data is error" in result["message"]) == ("failed", True)
    result = do(tmp_path, "openstack", params(url, volume(2)))
    assert "volume data is error: delete it" in result["message"]


def test_a_volume_that_is_to_be_absent_is_gone_when_the_step_is_over(
    tmp_path: Path, cloud: tuple[FakeCloud, str]
) -> None:
    fake, url = cloud
    do(tmp_path, "openstack", params(url, volume(2)))
    result = do(tmp_path, "openstack", params(url, {"kind": "volume", "name": "data", "state": "absent"}))
    assert (result["status"], fake.things[VOLUMES]) == ("changed", {})


def test_a_quota_that_nobody_knows_is_told_also_without_volumes(
    tmp_path: Path, cloud: tuple[FakeCloud, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = {"kind": "quota", "properties": {"project": "admin", "instances": 10, "planets": 3}}
    assert "no service knows the quota planets" in do(tmp_path, "openstack", params(cloud[1], quota))["message"]
    monkeypatch.delitem(fake_cloud._SERVICES, "volumev3")
    assert "no service knows the quota planets" in do(tmp_path, "openstack", params(cloud[1], quota))["message"]


def test_two_of_a_name_are_refused(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    fake, url = cloud
    for number in (1, 2):
        fake.things[NETWORKS][f"n{number}"] = {"id": f"n{number}", "name": "external"}
    result = do(tmp_path, "openstack", params(url, EXTERNAL))
    assert "2 times there is a network external" in result["message"]


def test_a_name_that_is_nowhere_is_told(tmp_path: Path, cloud: tuple[FakeCloud, str]) -> None:
    result = do(tmp_path, "openstack", params(cloud[1], SUBNET))
    assert "there is no network inside: make it first" in result["message"]


@pytest.mark.parametrize("answer", ["text", [], {}, {"networks": None}, {"networks": ["x"]}, {"networks": {"a": 1}}])
def test_an_answer_that_is_no_list_fails_with_a_sentence(
    tmp_path: Path, cloud: tuple[FakeCloud, str], answer: Any
) -> None:
    cloud[0].garbage = answer
    result = do(tmp_path, "openstack", params(cloud[1], EXTERNAL))
    assert result["status"] == "failed"
    assert "does not list its networks" in result["message"]


@pytest.mark.parametrize(
    ("resource", "why"),
    [
        ({"kind": "flavor", "name": "small"}, "needs the properties ram, vcpus, disk"),
        ({"kind": "network"}, "give it"),
        ({"kind": "router_interface", "name": "x", "properties": {"router": "r", "subnet": "s"}}, "has no name"),
        ({"kind": "image", "name": "tiny"}, "an image needs `file` or `url`"),
        ({"kind": "image", "name": "tiny", "url": "http://a/b"}, "needs the `sha256`"),
        ({"kind": "network", "name": "n", "file": "/x"}, "nothing else has one"),
        ({"kind": "quota", "properties": {"project": "p"}, "state": "absent"}, "cannot be absent"),
        ({"kind": "volume", "name": "v"}, "needs the properties size"),
        ({"kind": "compute_service", "name": "n1", "properties": {"binary": "nova-compute"}}, "can be absent only"),
        ({"kind": "network_agent", "name": "n1", "state": "absent"}, "with the property binary"),
        ({"kind": "planet", "name": "x"}, "Input should be"),
    ],
)
def test_a_resource_that_lacks_something_is_refused_before_any_host_sees_it(resource: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        params("http://c:5000/v3", resource)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5)


@given(now=JSON, wanted=JSON)
def test_comparing_takes_whatever_an_api_answers(now: Any, wanted: Any) -> None:
    assert isinstance(_same(now, wanted), bool)
    assert _same(wanted, wanted)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.ip_addresses(), end=st.ip_addresses())
def test_a_pool_is_two_addresses(start: Any, end: Any) -> None:
    assert _pool(f"{start} - {end}") == {"start": str(start), "end": str(end)}

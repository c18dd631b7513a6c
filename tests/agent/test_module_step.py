from __future__ import annotations

from pathlib import Path

from .fake_host import do, program


def test_modules_are_loaded_now_and_at_every_boot(tmp_path: Path) -> None:
    program(tmp_path, "modprobe", "shift; mkdir -p sys/module/$(echo $1 | tr - _); echo $1 >> loaded")
    params = {"names": ["br_netfilter", "vhost-net"]}
    assert [do(tmp_path, "module", params, root=tmp_path)["status"] for _ in range(2)] == ["changed", "ok"]
    assert (tmp_path / "loaded").read_text() == "br_netfilter\nvhost-net\n"
    assert (tmp_path / "etc/modules-load.d/pxeforge-vhost-net.conf").read_text() == "vhost-net\n"


def test_what_is_built_into_the_kernel_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.1.0\n")
    (tmp_path / "lib/modules/6.1.0").mkdir(parents=True)
    (tmp_path / "lib/modules/6.1.0/modules.builtin").write_text("kernel/net/8021q/8021q.ko\n")
    program(tmp_path, "modprobe", "exit 1")
    assert do(tmp_path, "module", {"names": ["8021q"]}, root=tmp_path)["status"] == "changed"
    assert do(tmp_path, "module", {"names": ["8021q"]}, root=tmp_path)["status"] == "ok"


def test_a_module_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    program(tmp_path, "modprobe", "echo 'Module nope not found' >&2; exit 1")
    result = do(tmp_path, "module", {"names": ["nope"]}, root=tmp_path)
    assert (result["status"], "cannot load nope" in result["message"]) == ("failed", True)
    assert not (tmp_path / "etc").exists()


def test_no_modules_are_no_work(tmp_path: Path) -> None:
    assert do(tmp_path, "module", {"names": []}, root=tmp_path)["status"] == "ok"

"""Where settings come from, and one clear sentence for each mistake."""

from pathlib import Path

import pytest

from pxeforge.app.settings import BadSettings, load_settings, parse_option


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pxeforge.toml"
    path.write_text('interfaces = ["eth1"]\nboot_port = 8081\ndomain = "file.example"\n')
    return path


def test_flags_win_over_the_environment_over_the_file(config: Path) -> None:
    environment = {"PXEFORGE_BOOT_PORT": "8082", "PXEFORGE_DOMAIN": "env.example", "PXEFORGE_INTERFACES": "eth2, eth3"}
    settings = load_settings({"boot_port": 8083}, config=config, environment=environment)
    assert settings.boot_port == 8083
    assert settings.domain == "env.example"
    assert settings.interfaces == ("eth2", "eth3")
    assert settings.tftp_port == 69


def test_proxy_mode_is_the_default() -> None:
    assert load_settings({}, environment={}).dhcp == "proxy"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('boot_prot = 80', r"unknown setting 'boot_prot' \(.*pxeforge.toml\): known are .*boot_port"),
        ('boot_port = 70000', r"setting boot_port \(.*\): Input should be less than or equal to 65535"),
        ('boot_port = "many"', "setting boot_port"),
        ('dhcp = "sometimes"', "setting dhcp .*'proxy', 'server' or 'off'"),
        ('range = "10.0.0.9-10.0.0.1"', "ends before it begins"),
        ('range = "10.0.0.0/24"', "write FIRST-LAST"),
        ('dhcp = "server"', "give --range FIRST-LAST"),
        ('admin_listen = "8443"', "is not ADDRESS:PORT"),
        ('metrics_listen = "9100"', "is not ADDRESS:PORT"),
        ('log_format = "xml"', "'console' or 'json'"),
        ('router = "here"', "setting router"),
        ('routes = ["10.9.0.0/16"]', "write DESTINATION/LENGTH via ROUTER"),
        ('routes = ["10.9.0.1/16 via 10.0.0.1"]', "is not a route"),
        ("mtu = 12", "setting mtu"),
        ('tftp_blksize = ["9"]', "setting tftp_blksize .*names no block size"),
        ('[mirrors.ubuntu]\nproxy = "http://p:1"', r"setting mirrors.ubuntu.url \(.*\): Field required"),
        ('[mirrors.ubuntu]\nurl = "mirror.example"', r"setting mirrors.ubuntu.url \(.*\): .*no mirror address: write"),
        ('[mirrors.ubuntu]\nurl = "http://m"\nspeed = 1', r"unknown setting 'mirrors.ubuntu.speed' .*known are proxy"),
        ('[mirrors."../x"]\nurl = "http://m"', r"setting mirrors \(.*\): '../x' cannot be part of a URL"),
        ('mirror = "http://m"\n[mirrors.debian]\nurl = "http://n"', r"`mirror` and \[mirrors.debian\] name the same"),
        ('mirror_proxy = "proxy:3128"', r"setting mirror_proxy \(.*\): .*no address of an HTTP proxy: write it like"),
        ('[[subnets]]\nrange = "10.0.0.5-10.0.0.9"', r"setting subnets\[1\].network \(.*\): Field required"),
        ('[[subnets]]\nnetwork = "10.0.0.0/24"\nrange = "5"', r"setting subnets\[1\].range \(.*\): .*FIRST-LAST"),
        ('[[subnets]]\nnetwork = "10.0.0.0/24"\nrange = "10.0.0.5-10.0.0.9"\ngateway = "x"',
         r"unknown setting 'subnets\[1\].gateway' \(.*\): known are .*router"),
        ('[options]\nfoo = "x"', "setting options .*'foo' is not the number of a DHCP option"),
        ('[options]\n43 = "hex:zz"', "setting options .*option 43: 'hex:zz' cannot be read"),
        ('[options]\n150 = "ip:here"', "setting options .*write text, ip:"),
        ("boot_port = ", "is not valid TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "pxeforge.toml"
    path.write_text(text + "\n")
    with pytest.raises(BadSettings, match=said) as caught:
        load_settings({}, config=path, environment={})
    assert "\n" not in str(caught.value)


def test_a_mistake_in_the_environment_is_named() -> None:
    with pytest.raises(BadSettings, match=r"setting tftp_port \(environment\)"):
        load_settings({}, environment={"PXEFORGE_TFTP_PORT": "x"})


def test_tables_come_from_the_environment_as_json() -> None:
    [subnet] = load_settings(
        {}, environment={"PXEFORGE_SUBNETS": '[{"network": "10.0.0.0/24", "range": "10.0.0.5-10.0.0.9"}]'}
    ).subnets
    assert str(subnet.network) == "10.0.0.0/24"
    with pytest.raises(BadSettings, match=r"setting subnets \(environment\) is not JSON"):
        load_settings({}, environment={"PXEFORGE_SUBNETS": "10.0.0.0/24"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain text", b"plain text"), ("http://x/", b"http://x/"), ("hex:0102ff", b"\1\2\xff"),
        ("hex:01:02:ff", b"\1\2\xff"), ("ip:10.0.0.1, 10.0.0.2", b"\x0a\0\0\1\x0a\0\0\2"),
    ],
)  # fmt: skip
def test_an_option_is_text_addresses_or_bytes(text: str, value: bytes) -> None:
    assert parse_option("150", text) == (150, value)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="there is no configuration file"):
        load_settings({}, config=tmp_path / "nope.toml", environment={})


def test_the_database_is_a_file_in_the_data_directory_unless_another_is_named(tmp_path: Path) -> None:
    assert load_settings({"data_dir": tmp_path}, environment={}).location.path == tmp_path / "pxeforge.db"
    environment = {"PXEFORGE_DATABASE": "postgresql://ops:s3cret@db.example/pxeforge"}
    settings = load_settings({}, environment=environment)
    assert settings.location.url == environment["PXEFORGE_DATABASE"]
    assert settings.plain().location == settings.location
    assert "s3cret" not in f"{settings!r} {settings.location!r} {settings.location}"


@pytest.mark.parametrize(
    "url", ["mysql://ops:s3cret@db/x", "postgresql://ops:s3cret@db", "postgresql://ops:1/s3cret@db/x"]
)
def test_a_bad_url_of_a_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadSettings, match="setting database") as told:
        load_settings({"database": url}, environment={})
    assert "s3cret" not in str(told.value)

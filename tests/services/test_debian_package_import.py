"""Importing netboot images from a small Debian mirror made here: real gpg, real .deb, real HTTP on loopback."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import json
import lzma
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from pxeforge.services import mirror_source
from pxeforge.services.debian_package_import import import_debian
from pxeforge.services.image_catalogue import CATALOGUE
from pxeforge.services.image_staging import sweep_incoming
from pxeforge.services.image_store import ImportProblem, latest_image, list_images, verify_image
from pxeforge.services.import_progress import ImportStage, Progress
from pxeforge.services.mirror_source import MirrorSource, apt_mirror
from tests.services.fake_repository import until as wait_for

pytestmark = pytest.mark.skipif(
    shutil.which("gpg") is None or shutil.which("gpgv") is None, reason="needs gpg and gpgv"
)

ENTRY = CATALOGUE["debian-13"]
DEB_PATH = "pool/main/d/images/netboot.deb"
CONTENT = {
    "linux": b"\0" * 0x202
    + b"HdrS"
    + b"\0" * 8
    + (0x300).to_bytes(2, "little")
    + b"\0" * 0x2F0
    + b"6.12.1-amd64 (x)\0",
    "initrd.gz": os.urandom(300_000),
    "pxelinux.0": b"pxe" * 100,
    "boot-screens/ldlinux.c32": b"ld" * 100,
    "boot-screens/syslinux.cfg": b"not wanted",
    "bootnetx64.efi": b"shim",
    "grubx64.efi": b"grub",
    "grub/grub.cfg": b"set x=1",
    "grub/x86_64-efi/net.mod": b"module",
}


@dataclasses.dataclass
class Key:
    """A signing key of a test archive."""

    home: Path
    ring: Path

    def clearsign(self, text: str) -> bytes:
        done = subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--clearsign"],
            input=text.encode(),
            capture_output=True,
            check=True,
        )
        return done.stdout


def make_key(home: Path) -> Key:
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run(
        [*gpg, "--passphrase", "", "--quick-gen-key", "archive@example.org", "ed25519", "sign", "never"],
        check=True,
        capture_output=True,
    )
    ring = home / "ring.gpg"
    ring.write_bytes(subprocess.run([*gpg, "--export"], check=True, capture_output=True).stdout)
    return Key(home, ring)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Key, Key]]:
    folder = tmp_path_factory.mktemp("gpg")
    made = make_key(folder / "a"), make_key(folder / "b")
    yield made
    for key in made:
        subprocess.run(["gpgconf", "--homedir", key.home, "--kill", "gpg-agent"], check=False, capture_output=True)


def make_deb(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A .deb whose data member holds exactly these names (nothing is tidied up)."""

    def tar(files: dict[str, bytes], symlinks: dict[str, str]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            for name, target in symlinks.items():
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, target
                archive.addfile(info)
        return buffer.getvalue()

    out = io.BytesIO()
    out.write(b"!<arch>\n")
    control = tar({"./control": b"Package: x\nVersion: 1\nArchitecture: all\n"}, {})
    for name, data in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", control),
        ("data.tar.xz", tar(members, links or {})),
    ):
        out.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
        out.write(data + b"\n" * (len(data) % 2))
    return out.getvalue()


def whole_content() -> dict[str, bytes]:
    return {f"./{ENTRY.prefix}{name}": data for name, data in CONTENT.items()}


class FakeMirror:
    """A mirror in memory, served over HTTP with Range; `cut` closes the connection after so many bytes of the .deb."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cut: list[int] = []  # one per request of the .deb
        self.status: int | None = None
        self.delay_s = 0.0
        self.silent_s = 0.0  # before each answer
        self.honours_range = True
        self.publish(make_deb(whole_content()))

    def publish(
        self,
        deb: bytes,
        *,
        version: str = "20250803+deb13u7",
        deb_sha256: str | None = None,
        packages_sha256: str | None = None,
        package: str = ENTRY.package,
        suite_lines: str = "Suite: stable\nCodename: trixie\n",
        arch: str = "amd64",
        signer: Key | None = None,
    ) -> None:
        stanza = (
            "Package: another\nVersion: 1\n\n"
            f"Package: {package}\nVersion: {version}\nInstalled-Size: 400\nArchitecture: all\n"
            f"Built-Using: acl (= 2), linux (= 6.12.1-1)\nFilename: {DEB_PATH}\nSize: {len(deb)}\n"
            f"SHA256: {deb_sha256 or hashlib.sha256(deb).hexdigest()}\n"
        )
        packed = lzma.compress(stanza.encode())
        digest = packages_sha256 or hashlib.sha256(packed).hexdigest()
        release = f"Origin: Test\n{suite_lines}SHA256:\n {digest} {len(packed)} main/binary-{arch}/Packages.xz\n"
        self.files = {
            "dists/trixie/InRelease": (signer or self.key).clearsign(release),
            f"dists/trixie/main/binary-{arch}/Packages.xz": packed,
            DEB_PATH: deb,
        }


@pytest.fixture
def mirror(keys: tuple[Key, Key]) -> Iterator[tuple[FakeMirror, MirrorSource]]:
    fake = FakeMirror(keys[0])

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.removeprefix("/debian/")
            fake.asked.append((name, self.headers.get("Range")))
            time.sleep(fake.silent_s)
            data = fake.files.get(name)
            status = fake.status or (404 if data is None else 200)
            body, start = data if status == 200 and data is not None else b"", 0
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if fake.honours_range else None
            if status == 200 and match:
                start = int(match[1])
                status = 206 if start < len(body) else 416
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:] if status != 416 else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if name == DEB_PATH and fake.cut and status < 400:
                self.wfile.write(body[: fake.cut.pop(0)])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            for offset in range(0, len(body), 16384):
                self.wfile.write(body[offset : offset + 16384])
                if fake.delay_s and name == DEB_PATH:
                    time.sleep(fake.delay_s)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients of these tests are killed in mid-flight

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield fake, MirrorSource(f"http://127.0.0.1:{server.server_address[1]}/debian")
    server.shutdown()
    server.server_close()


def nothing_is_left(data_dir: Path) -> bool:
    """No image, no staging folder."""
    return list_images(data_dir) == [] and not list((data_dir / "images").glob(".incoming-*"))


def test_a_good_import_holds_every_wanted_file_with_its_digest(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    seen: list[Progress] = []
    image = import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring, progress=seen.append)
    assert image.path == tmp_path / "images" / "debian-13" / "20250803+deb13u7"
    assert image.boot_path == "images/debian-13/20250803+deb13u7"
    assert image.fresh
    assert image.kernel_version == "6.12.1-amd64"
    assert set(image.files) == {
        "linux",
        "initrd.gz",
        "loaders/pxelinux.0",
        "loaders/ldlinux.c32",
        "loaders/bootnetx64.efi",
        "loaders/grubx64.efi",
        "loaders/grub/grub.cfg",
        "loaders/grub/x86_64-efi/net.mod",
    }
    assert (image.path / "initrd.gz").read_bytes() == CONTENT["initrd.gz"]
    assert verify_image(image.path) == []
    assert set(image.sources) == {"InRelease", "Packages.xz", "netboot.deb"}
    assert [one.stage for one in seen][-1] is ImportStage.DONE
    assert max(one.done_bytes for one in seen if one.stage is ImportStage.DOWNLOAD) == len(fake.files[DEB_PATH])
    assert not list((tmp_path / "images").glob(".incoming-*"))
    assert list((tmp_path / "images" / ".downloads").iterdir()) == []
    assert json.loads((image.path / "image.json").read_text())["version"] == image.version


def test_an_image_for_arm64_has_a_shim_and_grub_of_its_own(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    entry = CATALOGUE["debian-13-arm64"]
    names = ("linux", "initrd.gz", "bootnetaa64.efi", "grubaa64.efi", "grub/arm64-efi/fs.lst", "pxelinux.0")
    deb = make_deb({f"./{entry.prefix}{name}": b"arm64 code" * 200 for name in names})
    fake.publish(deb, package=entry.package, arch="arm64")
    image = import_debian("debian-13-arm64", data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert (image.arch, image.kernel_version) == ("arm64", "6.12.1-1")
    assert set(image.files) == {
        "linux", "initrd.gz", "loaders/bootnetaa64.efi", "loaders/grubaa64.efi", "loaders/grub/arm64-efi/fs.lst",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("memtest", {"memtest.bin", "memtest.efi"}),
        ("ipxe", {"loaders/undionly.kpxe", "loaders/snponly.efi", "loaders/ipxe-arm64.efi"}),
    ],
)
def test_programs_are_imported_without_a_kernel(mirror, tmp_path: Path, name: str, files: set[str]) -> None:
    fake, source = mirror
    entry = CATALOGUE[name]
    members = {f"./{entry.prefix}{inside}": b"program" for inside in entry.files}
    fake.publish(make_deb({**members, f"./{entry.prefix}grub/x.mod": b"x"}), package=entry.package)
    image = import_debian(name, data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert set(image.files) == files
    assert image.kernel_version is None
    assert not entry.is_installer
    members.popitem()
    fake.publish(make_deb(members), package=entry.package, version="99")
    with pytest.raises(ImportProblem, match="lacks"):
        import_debian(name, data_dir=tmp_path, mirror=source, keyring=fake.key.ring)


def test_a_second_import_of_the_same_version_says_so_and_downloads_no_package(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    first = import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    fake.asked.clear()
    notes: list[Progress] = []
    again = import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring, progress=notes.append)
    assert not again.fresh
    assert again.files == first.files
    assert "already imported" in notes[-1].note
    assert DEB_PATH not in [name for name, _ in fake.asked]


def test_a_newer_version_stands_beside_the_old_one_and_is_the_latest(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    fake.publish(make_deb(whole_content()), version="20250803+deb13u10")
    import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert [image.version for image in list_images(tmp_path)] == ["20250803+deb13u7", "20250803+deb13u10"]
    latest = latest_image(tmp_path, "debian-13")
    assert latest is not None
    assert latest.version == "20250803+deb13u10"


def test_a_changed_inrelease_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    name = "dists/trixie/InRelease"
    fake.files[name] = fake.files[name].replace(b"Origin: Test", b"Origin: Evil")
    with pytest.raises(ImportProblem, match=r"signature .* is bad"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert nothing_is_left(tmp_path)


def test_a_foreign_key_is_refused(mirror, keys: tuple[Key, Key], tmp_path: Path) -> None:
    _, source = mirror
    with pytest.raises(ImportProblem, match="not signed by a key of"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=keys[1].ring)
    assert nothing_is_left(tmp_path)


def test_an_unsigned_inrelease_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    fake.files["dists/trixie/InRelease"] = b"Suite: trixie\nSHA256:\n"
    with pytest.raises(ImportProblem, match="not signed"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)


def test_text_outside_of_the_signature_is_not_believed(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    name = "dists/trixie/InRelease"
    fake.files[name] = b"Valid-Until: Thu, 01 Jan 1970 00:00:00 UTC\nCodename: evil\n\n" + fake.files[name]
    assert import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring).fresh


def test_a_missing_keyring_names_the_package_to_install(mirror, tmp_path: Path) -> None:
    _, source = mirror
    with pytest.raises(ImportProblem, match="install debian-archive-keyring"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=tmp_path / "none.gpg")


def test_another_suite_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    fake.publish(make_deb(whole_content()), suite_lines="Suite: oldstable\nCodename: bookworm\n")
    with pytest.raises(ImportProblem, match="not of trixie"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)


@pytest.mark.parametrize(("offset_s", "good"), [(3600, True), (-3600, False)])
def test_valid_until_is_honoured(mirror, tmp_path: Path, offset_s: int, good: bool) -> None:
    fake, source = mirror
    until = formatdate(time.time() + offset_s, usegmt=True)
    fake.publish(make_deb(whole_content()), suite_lines=f"Codename: trixie\nValid-Until: {until}\n")
    if good:
        assert import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring).fresh
        return
    with pytest.raises(ImportProblem, match="was valid until"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)


def test_a_wrong_hash_of_packages_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    fake.publish(make_deb(whole_content()), packages_sha256="0" * 64)
    with pytest.raises(ImportProblem, match="does not vouch"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert nothing_is_left(tmp_path)


def test_a_wrong_hash_of_the_package_is_refused_and_its_bytes_are_thrown_away(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    deb = bytearray(fake.files[DEB_PATH])
    deb[-1000] ^= 1
    fake.files[DEB_PATH] = bytes(deb)
    with pytest.raises(ImportProblem, match="does not vouch"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert nothing_is_left(tmp_path)
    assert list((tmp_path / "images" / ".downloads").iterdir()) == []


def test_a_missing_package_is_named(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    fake.publish(make_deb(whole_content()), package="something-else")
    with pytest.raises(ImportProblem, match=f"no package {ENTRY.package}"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)


def test_a_package_without_a_kernel_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    members = whole_content()
    del members[f"./{ENTRY.prefix}linux"]
    fake.publish(make_deb(members))
    with pytest.raises(ImportProblem, match="lacks linux"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert nothing_is_left(tmp_path)


def test_a_broken_download_goes_on_where_it_broke(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    fake.cut = [100_000]
    image = import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    ranges = [wanted for name, wanted in fake.asked if name == DEB_PATH]
    assert ranges[0] is None
    assert ranges[1:] == ["bytes=98304-"]  # whole chunks of 32768
    assert verify_image(image.path) == []


def test_a_download_that_keeps_breaking_is_continued_by_the_next_import(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    fake.cut = [50_000, 50_000, 50_000]
    with pytest.raises(ImportProblem, match="broke off at 98304 of"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert nothing_is_left(tmp_path)
    fake.asked.clear()
    image = import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert [wanted for name, wanted in fake.asked if name == DEB_PATH] == ["bytes=98304-"]
    assert verify_image(image.path) == []


def test_a_mirror_without_ranges_starts_again_and_still_ends_whole(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    fake.cut, fake.honours_range = [50_000], False
    assert verify_image(import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring).path) == []


def test_a_wrong_partial_file_is_found_by_the_hash_over_the_whole(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    digest = hashlib.sha256(fake.files[DEB_PATH]).hexdigest()
    part = tmp_path / "images" / ".downloads" / f"{digest}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    with pytest.raises(ImportProblem, match="does not vouch"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring).fresh


def test_a_truncated_package_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    fake.files[DEB_PATH] = fake.files[DEB_PATH][:-500]
    with pytest.raises(ImportProblem, match="broke off"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert nothing_is_left(tmp_path)


def test_a_package_longer_than_its_index_says_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    fake.files[DEB_PATH] += b"more"
    with pytest.raises(ImportProblem, match="larger than its index says"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("evil", ["./usr/../../../evil", "../evil", "/usr/../../evil"])
def test_a_path_that_leads_out_of_the_package_is_refused(mirror, tmp_path: Path, evil: str) -> None:
    fake, source = mirror
    fake.publish(make_deb({evil: b"x", **whole_content()}))
    with pytest.raises(ImportProblem, match="unsafe path"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert nothing_is_left(tmp_path)


def test_a_link_in_place_of_a_wanted_file_is_refused(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    members = whole_content()
    del members[f"./{ENTRY.prefix}linux"]
    fake.publish(make_deb(members, {f"./{ENTRY.prefix}linux": "/etc/shadow"}))
    with pytest.raises(ImportProblem, match="no plain file"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert nothing_is_left(tmp_path)


def test_too_little_space_is_told_before_the_download(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    with pytest.raises(ImportProblem, match=r"debian-13 needs 0\.\d MB in .*, 0\.1 MB are free: make room"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring, free_bytes=lambda _: 100_000)
    assert DEB_PATH not in [name for name, _ in fake.asked]
    assert nothing_is_left(tmp_path)


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs: needs root")
def test_a_disk_that_fills_up_under_the_import_is_told_and_left_clean(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=True)
    try:
        with pytest.raises(ImportProblem, match="is full: make room"):
            import_debian(data_dir=disk, mirror=source, keyring=fake.key.ring, free_bytes=lambda _: 10**12)
        assert nothing_is_left(disk)
        assert list((disk / "images" / ".downloads").iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_network_errors_are_one_sentence(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = MirrorSource(f"http://127.0.0.1:{closed.getsockname()[1]}/debian")
        with pytest.raises(ImportProblem, match=r"cannot be reached at .* \(connection refused\)"):
            import_debian(data_dir=tmp_path, mirror=nobody, keyring=fake.key.ring)
    fake.status = 503
    with pytest.raises(ImportProblem, match="answered 503"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    fake.status = 404
    with pytest.raises(ImportProblem, match=r"does not exist \(404\)"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    with pytest.raises(ImportProblem, match="cannot be reached"):
        import_debian(
            data_dir=tmp_path, mirror=MirrorSource("http+unix://%2Fno%2Fsuch.sock/debian"), keyring=fake.key.ring
        )


def test_a_silent_mirror_times_out(tmp_path: Path, keys: tuple[Key, Key], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_source, "READ_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        source = MirrorSource(f"http://127.0.0.1:{silent.getsockname()[1]}/debian")
        with pytest.raises(ImportProblem, match="did not answer in time"):
            import_debian(data_dir=tmp_path, mirror=source, keyring=keys[0].ring)


def test_a_mirror_behind_a_unix_socket_works(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    port = int(source.base_url.split(":")[2].split("/")[0])
    path = tmp_path / "relay.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def copy(one: socket.socket, other: socket.socket) -> None:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)

    def relay() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=relay, daemon=True).start()
    quoted = str(path).replace("/", "%2F")
    unix = MirrorSource(f"http+unix://{quoted}/debian")
    assert import_debian(data_dir=tmp_path, mirror=unix, keyring=fake.key.ring).fresh
    listener.close()


def test_verify_finds_changed_missing_and_foreign_files(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    path = import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring).path
    data = bytearray((path / "linux").read_bytes())
    data[7] ^= 1
    (path / "linux").write_bytes(data)
    (path / "initrd.gz").write_bytes(b"short")
    (path / "loaders" / "pxelinux.0").unlink()
    (path / "extra").write_text("x")
    assert verify_image(path) == [
        "initrd.gz has 5 bytes instead of 300000",
        "linux was changed: its SHA256 is not the imported one",
        "loaders/pxelinux.0 is missing",
        "extra does not belong to the image",
    ]
    (path / "image.json").write_text("{")
    assert "no readable image" in verify_image(path)[0]


KILLED = """
import sys
from pathlib import Path
from pxeforge.services.debian_package_import import import_debian
from pxeforge.services.mirror_source import MirrorSource
def tell(progress):
    print(progress.stage.value, progress.done_bytes, flush=True)
import_debian(data_dir=Path(sys.argv[1]), mirror=MirrorSource(sys.argv[2]), keyring=Path(sys.argv[3]), progress=tell)
"""


@pytest.mark.parametrize("until", ["index 0", "download 32768", "unpack"])
def test_after_kill_9_nothing_is_visible_and_the_next_import_works(mirror, tmp_path: Path, until: str) -> None:
    fake, source = mirror
    fake.delay_s = 0.05
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), source.base_url, str(fake.key.ring)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(until):
            break
    with pytest.raises(ImportProblem, match="another import of debian-13 is running"):
        import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert sweep_incoming(tmp_path) == []
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert list_images(tmp_path) == []
    assert len(list((tmp_path / "images").glob(".incoming-*"))) == 1
    # A program that the killed one was just starting (gpgv) holds its files for a moment longer.
    swept: list[Path] = []
    wait_for(lambda: bool(swept.extend(sweep_incoming(tmp_path)) or swept))
    assert len(swept) == 1
    fake.delay_s = 0
    image = import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert verify_image(image.path) == []
    assert nothing_is_left(tmp_path / "other")


def test_the_next_import_removes_what_a_dead_one_left(mirror, tmp_path: Path) -> None:
    fake, source = mirror
    dead = tmp_path / "images" / ".incoming-debian-13-abcd1234"
    dead.mkdir(parents=True)
    (dead / "linux").write_text("half")
    import_debian(data_dir=tmp_path, mirror=source, keyring=fake.key.ring)
    assert not dead.exists()


def test_old_partial_downloads_are_swept_and_young_ones_kept(tmp_path: Path) -> None:
    downloads = tmp_path / "images" / ".downloads"
    downloads.mkdir(parents=True)
    for name, age_s in (("old.part", 8 * 86400), ("young.part", 3600)):
        (downloads / name).write_text("x")
        os.utime(downloads / name, (1e9 - age_s, 1e9 - age_s))
    assert [path.name for path in sweep_incoming(tmp_path, now=1e9)] == ["old.part"]
    assert sweep_incoming(tmp_path / "nowhere") == []


def test_an_unknown_image_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ImportProblem, match="choose one of debian-12, debian-12-arm64, debian-13, debian-13-arm64, ipxe, memtest"
    ):
        import_debian("plan-9", data_dir=tmp_path, mirror=MirrorSource("http://127.0.0.1:1/debian"))


@pytest.mark.parametrize("address", ["ftp://x/debian", "mirror.example", "http://", "http://x/debian?y"])
def test_an_address_that_is_no_mirror_is_refused(address: str) -> None:
    with pytest.raises(ImportProblem, match="no mirror address"):
        MirrorSource(address)


def test_the_mirror_of_apt_is_found_and_its_absence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "apt-get"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    fake.write_text("#!/bin/sh\necho http://m.example.org/debian-security/\necho http://m.example.org/debian/\n")
    fake.chmod(0o755)
    assert apt_mirror() == MirrorSource("http://m.example.org/debian")
    fake.write_text("#!/bin/sh\necho http://m.example.org/ubuntu/\n")
    with pytest.raises(ImportProblem, match="give --mirror"):
        apt_mirror()
    fake.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ImportProblem, match="give --mirror"):
        apt_mirror()

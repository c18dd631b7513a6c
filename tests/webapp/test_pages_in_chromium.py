"""The pages as a browser lays them out, on a phone and on a desk, light and dark: readable, labelled, not cut off."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pxeforge.services import arming, hosts, profiles
from pxeforge.services.context import Context
from tests.conftest import ACCOUNT, MAC, write_image

from .conftest import Browser

CHROMIUM = shutil.which("chromium")
STYLES = sorted((Path(__file__).parents[2] / "web" / "static").glob("*.css"), reverse=True)
WIDTHS = (360, 1200)
LEAST_CONTRAST = 4.5  # WCAG 2.2 AA, for text of the usual size
LOOK = r"""
const colour = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return {r, g, b, a}; };
const light = ({r, g, b}) => { const [x, y, z] = [r, g, b].map((v) => { v /= 255;
  return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
const ground = (at) => { for (let e = at; e; e = e.parentElement) {
  const c = colour(getComputedStyle(e).backgroundColor); if (c.a > 0.99) return c; }
  return {r: 255, g: 255, b: 255, a: 1}; };
const shown = (e) => e.getClientRects().length && getComputedStyle(e).visibility === "visible";
const name = (e) => `${e.tagName.toLowerCase()}.${e.className} ${e.textContent.trim().slice(0, 40)}`;
function look(doc) {
  const root = doc.documentElement, faults = [];
  if (root.scrollWidth > root.clientWidth) faults.push(`wider than the screen: ${root.scrollWidth}`);
  for (const e of doc.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href]")) {
    const labels = [...(e.labels || [])].map((l) => l.textContent);
    const said = [e.getAttribute("aria-label") || "", ...labels, e.textContent].join("").trim();
    if (shown(e) && !said) faults.push(`no label: ${e.outerHTML.slice(0, 80)}`);
  }
  for (const e of doc.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !shown(e) || e.closest(".sr, .skip, :disabled, option")) continue;
    const [a, b] = [light(colour(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < LEAST) faults.push(`contrast ${ratio.toFixed(1)}: ${name(e)}`);
  }
  return faults;
}
addEventListener("load", () => {
  const told = {};
  for (const frame of document.querySelectorAll("iframe")) told[frame.title] = look(frame.contentDocument);
  document.getElementById("told").textContent = JSON.stringify(told);
});
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def pages_of(browser: Browser, ctx: Context) -> dict[str, str]:
    """The HTML of every page about images, profiles, answers and arming, by name."""
    hosts.add(ctx, macs=[MAC], name="n1", who="test")
    write_image(ctx.data_dir, "7.20", {"memtest.bin": b"b", "memtest.efi": b"e"}, name="memtest")
    accounts = [{**ACCOUNT, "password_hash": "$6$saltsalt$" + "a" * 86}]
    lines = ["d-i netcfg/enable boolean maybe", "d-i a/long string " + "x" * 300]
    parameters = {"accounts": accounts, "extra_lines": lines, "disk": "serial=S1"}
    profiles.create(ctx, "other", image="debian-13", parameters=parameters, who="test")
    arming.arm(ctx, "n1", profile="debian-13", who="test")
    host_id = hosts.show(ctx, "n1")["id"]
    browser.post("/users/tokens", {"name": "ci", "role": "viewer", "lives": "1 day"})
    browser.post(f"/hosts/{host_id}/change", {"name": "n1", "tags": "rack1 rack2"})
    left, right = quote(f"host={host_id},profile=debian-13"), quote(f"host={host_id},profile=other")
    asked = {
        "images": "/images", "image": "/images/debian-13", "profiles": "/profiles", "profile": "/profiles/other",
        "lint": "/lint", "host": f"/hosts/{host_id}", "preview": f"/hosts/{host_id}/preview?profile=other",
        "late": f"/hosts/{host_id}/preview?profile=other&what=late", "diff": f"/diff?left={left}&right={right}",
        "choose": f"/arm/choose?host={host_id}", "hosts": "/hosts",
        "users": "/users", "audit": "/audit",
    }  # fmt: skip
    found = {name: browser.get(path).get_data(as_text=True) for name, path in asked.items()}
    posted: dict[str, tuple[str, dict[str, object]]] = {
        "arm": ("/arm", {"host": "n1", "profile": "other"}),
        "arm menu": ("/arm", {"host": "n1", "what": "menu", "menu_profile": ["other", "debian-13"]}),
        "arm rescue": ("/arm", {"host": "n1", "what": "rescue", "rescue_profile": "other"}),
        "errors": ("/profiles/other", {"p_disk": "nonsense", "p_packages": "[a"}),
        "remove image": ("/images/debian-13/remove", {}),
        "remove profile": ("/profiles/debian-13/remove", {}),
        "verify": ("/images/debian-13/verify", {}),
    }
    return {
        **found, **{name: browser.post(path, form).get_data(as_text=True) for name, (path, form) in posted.items()}
    }  # fmt: skip


def faults_of(pages: dict[str, str], mode: int, folder: Path) -> dict[str, Any]:
    """What the browser finds wrong, by page and width; `mode` is Blink's preferred colour scheme: 0 dark, 1 light."""
    style = f"<style>{''.join(sheet.read_text() for sheet in STYLES)}</style>"
    frames = []
    for name, text in pages.items():
        plain = re.sub(r"<script.*?</script>|<link[^>]*stylesheet[^>]*>", "", text, flags=re.DOTALL)
        whole = html.escape(plain.replace("<details", "<details open").replace("</head>", f"{style}</head>"))
        frames += [
            f'<iframe title="{name} {width}" width="{width}" height="900" srcdoc="{whole}"></iframe>'
            for width in WIDTHS
        ]  # fmt: skip
    page = folder / "pages.html"
    script = LOOK.replace("LEAST", str(LEAST_CONTRAST))
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><pre id="told"></pre>{"".join(frames)}<script>{script}</script>'
    )
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder / 'browser'}",
            f"--blink-settings=preferredColorScheme={mode}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="told">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert len(told) == len(pages) * len(WIDTHS)
    return {name: faults for name, faults in told.items() if faults}


def test_pages_fit_their_screen_and_can_be_read_by_everybody(
    browser: Browser, ctx: Context, profile: str, tmp_path: Path
) -> None:
    pages = pages_of(browser, ctx)
    for mode in (0, 1):
        folder = tmp_path / f"mode-{mode}"
        folder.mkdir()
        assert faults_of(pages, mode, folder) == {}


@pytest.mark.parametrize(("mode", "expected"), [(0, ["wider", "no", "contrast"]), (1, ["wider", "no"])])
def test_the_look_finds_what_is_wrong(tmp_path: Path, mode: int, expected: list[str]) -> None:
    wrong = (
        '<!doctype html><html><head></head><body><p class="grey">pale</p><input name="a">'
        '<div class="wide-one">w</div></body></html>'
    ).replace("</head>", "<style>.grey { color: #5a6675 } .wide-one { width: 3000px }</style></head>")
    found = faults_of({"wrong": wrong}, mode, tmp_path)
    assert [fault.partition(" ")[0].rstrip(":") for fault in found["wrong 360"]] == expected

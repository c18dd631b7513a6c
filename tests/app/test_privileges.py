"""What a process can no longer do once it has given up its capabilities (each try in a process of its own)."""

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to give up"),
]
DROP = "from pxeforge.app.privileges import drop_capabilities; drop_capabilities()\n"


def run(code: str, drop: str = DROP) -> str:
    done = subprocess.run([sys.executable, "-c", drop + code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_no_capability_is_left_in_any_thread() -> None:
    code = (
        "import threading\n"
        "def look():\n"
        "    text = open('/proc/thread-self/status').read()\n"
        "    wanted = ('CapEff', 'CapPrm', 'NoNewPrivs')\n"
        "    print(*[line.split()[1] for line in text.splitlines() if line.startswith(wanted)])\n"
        "look(); t = threading.Thread(target=look); t.start(); t.join()"
    )
    assert run(code).splitlines() == ["0000000000000000 0000000000000000 1"] * 2


def test_what_is_kept_is_kept_alone() -> None:
    drop = "from pxeforge.app.privileges import *; drop_capabilities(keep={CAP_NET_BIND_SERVICE})\n"
    code = (
        "import os, socket\n"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapPrm'))])\n"
        "socket.socket().bind(('127.0.0.1', 81))\n"
        "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo\\0')\n"
        "try: os.setgroups([])\n"
        "except PermissionError: print('refused')\n"
    )
    assert run(code, drop).splitlines() == ["['0000000000000400', '0000000000000400']", "refused"]


def test_low_ports_and_the_files_of_others_are_out_of_reach() -> None:
    code = (
        "import os, socket, tempfile\n"
        "def tried(what):\n"
        "    try: what()\n"
        "    except PermissionError: return 'refused'\n"
        "    return 'done'\n"
        "print(tried(lambda: socket.socket().bind(('127.0.0.1', 81))))\n"
        "print(tried(lambda: os.setgroups([])))\n"
        "print(tried(lambda: os.chown(tempfile.mkdtemp(), 65534, 65534)))\n"
    )
    assert run(code).splitlines() == ["refused"] * 3


def test_our_own_files_stay_in_reach() -> None:
    assert run("import tempfile; f = tempfile.NamedTemporaryFile(); f.write(b'x'); print('done')") == "done"

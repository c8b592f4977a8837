"""Which servers a whole run asks for, with its decoders and worker processes: none."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.conftest import SAMPLES
from tests.shell import shell

ADDRESS = re.compile(r'sin_port=htons\((\d+)\).*?inet_addr\("([^"]+)"\)|sin6_port=htons\((\d+)\).*?"([0-9a-f:.]+)"')
LOOPBACK = re.compile(r"127\.|::1$|::ffff:127\.|0\.0\.0\.0$|::$")


def asked(trace: str) -> set[str]:
    """What the calls in strace's lines went to, beside loopback; a look-up is one, wherever it went."""
    found = {(hit[0] or hit[2], hit[1] or hit[3]) for hit in ADDRESS.findall(trace)}
    return {f"{address}:{port}" for port, address in found if port == "53" or not LOOPBACK.match(address)}


def test_what_strace_tells_is_understood():
    look_up = 'connect(8, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0'
    six = (
        'connect(8, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "2620:1ec::10", &sin6_addr)}, 28)'
    )
    own = 'sendto(3, "{}", 2, 0, {sa_family=AF_INET, sin_port=htons(40001), sin_addr=inet_addr("127.0.0.1")}, 16) = 2'
    assert asked("\n".join([look_up, six, own])) == {"127.0.0.53:53", "2620:1ec::10:443"}


def test_a_run_asks_no_server(tmp_path):
    if not shutil.which("strace") or subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode:
        pytest.skip("NOT TESTED: no strace, or it may not watch processes here")
    workers = "--direct_running_mode=multi_processing --direct_num_workers=2"
    job = f'"$PYTHON" -m beam_pipeline --input {SAMPLES}/village.opus --output out --model demo {workers}'
    watched = f"strace -f -qq -e trace=connect,sendto,sendmsg,sendmmsg -s 100 -o trace.txt {job}"
    done = shell(tmp_path, watched, HOME=str(tmp_path), ORT_DISABLE_TELEMETRY=None, HF_HUB_DISABLE_TELEMETRY=None)
    assert done.returncode == 0, done.stderr
    trace = (tmp_path / "trace.txt").read_text(errors="replace")
    assert "127.0.0.1" in trace  # its own display and workers: something was seen
    assert asked(trace) == set()
    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name] == []

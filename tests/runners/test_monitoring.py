"""The dashboard and the alerts ask what a run answers: a real Prometheus, real runs, every query."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conftest import ROOT, SAMPLES, TRUTH
from tests.flink import need_flink
from tests.runs import counters
from tests.servers import free_port, running
from transforms.dofns.figures import FIGURES, STEPS
from transforms.dofns.prometheus import PORTS, PREFIX, prometheus_name

MONITORING = ROOT / "runners" / "monitoring"
DATA = ROOT / "tests" / "data" / "monitoring"
RULES = [
    rule
    for name in ("alerts.yml", "flink.yml")
    for group in yaml.safe_load((MONITORING / name).read_text())["groups"]
    for rule in group["rules"]
]
PANELS = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
pytestmark = [
    pytest.mark.long(110),
    pytest.mark.skipif(
        not (shutil.which("prometheus") and shutil.which("promtool")),
        reason="NOT TESTED: no prometheus and promtool on PATH (Debian's package prometheus)",
    ),
]


def queries(job: str) -> list[str]:
    """Every expression of the dashboard for a job, and every side of every comparison of the rules."""
    shown = [target["expr"] for panel in PANELS for target in panel["targets"]]
    asked = [text.replace("$__rate_interval", "10s").replace("$job", job) for text in shown]
    for rule in RULES:
        whole = rule["expr"] if "record" in rule else re.sub(r"\band\b|[<>=]=?", "\n", rule["expr"])
        sides = [whole] if "record" in rule else whole.split("\n")
        asked += [side.strip() for side in sides if not re.fullmatch(r"[\s\d.]*", side)]
    # Flink's reporter has no zeros, and is not read any more when the last bundle ends: the one failure may be there.
    left_out = re.compile("failed_total|dead_total" if job == "flink" else "milliseconds")
    return [text for text in asked if not left_out.search(text)]


class Prometheus(NamedTuple):
    """A server that reads what it is told to every second."""

    url: str

    def values(self, query: str, since: float) -> list[float]:
        """What the query gave every second from then on, of all its series."""
        asked = urllib.parse.urlencode({"query": query, "start": since, "end": time.time(), "step": 1})
        with urllib.request.urlopen(f"{self.url}/api/v1/query_range?{asked}") as answer:
            found = json.load(answer)["data"]["result"]
        return [float(value) for series in found for _, value in series["values"]]


@contextlib.contextmanager
def prometheus(folder, **targets: list[str]):
    """The shipped configuration at work, with these targets for its jobs."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (folder / "targets").mkdir()
    for job in config["scrape_configs"]:
        asked = [{"targets": targets.get(job["job_name"], [])}]
        (folder / "targets" / f"{job['job_name']}.yml").write_text(yaml.safe_dump(asked))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for name in config["rule_files"]:
        shutil.copy(MONITORING / name, folder / name)
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    listen = f"--web.listen-address=127.0.0.1:{port}"
    with running([*command, listen], f"http://127.0.0.1:{port}/-/ready", folder / "log"):
        yield Prometheus(f"http://127.0.0.1:{port}")


class Watched(NamedTuple):
    """A run that Prometheus has watched."""

    prometheus: Prometheus
    started: float
    output: Any
    media: int
    jobs: list[str]  # of Prometheus, that have its figures

    def values(self, query: str) -> list[float]:
        return self.prometheus.values(query, self.started)


def watched_run(folder, server, jobs, *flags: str) -> Watched:
    """Transcribe the samples and a file that is not a recording."""
    broken = folder / "broken.mp3"
    broken.write_bytes(b"no media " * 1000)
    started = time.time()
    command = [sys.executable, "-m", "beam_pipeline", "--input", str(SAMPLES), str(broken), "--model", "demo"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command += ["--output", str(folder / "out"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 3, done.stderr
    return Watched(server, started, folder / "out", len(TRUTH) + 1, jobs)


@contextlib.contextmanager
def local(folder):
    port = free_port()
    with prometheus(folder, beam_pipeline=[f"127.0.0.1:{port}"]) as server:
        yield watched_run(folder, server, ["beam_pipeline"], "--metrics_port", str(port))


@contextlib.contextmanager
def flink(folder):
    """A run on a Flink cluster, whose figures come from the Python workers beside its TaskManager."""
    need_flink()
    cluster = [sys.executable, "-m", "runners.flink.cluster"]
    home, rest, port = ["--home", str(folder / "cluster")], str(free_port()), free_port()
    up = subprocess.run([*cluster, "up", *home, "--port", rest, "--slots", "1"], stdout=subprocess.PIPE, text=True)
    try:
        assert up.returncode == 0
        workers = [f"127.0.0.1:{port + number}" for number in range(PORTS)]
        reporters = [f"127.0.0.1:{9249 + number}" for number in range(6)]
        with prometheus(folder, beam_pipeline=workers, flink=reporters) as server:
            master = up.stdout.split()[-1]
            flags = ["--runner=FlinkRunner", f"--flink_master={master}", f"--metrics_port={port}"]
            # Small bundles: only what they end with reaches Flink's own reporter.
            streamed = ["--streaming"]
            yield watched_run(folder, server, ["beam_pipeline", "flink"], *flags, *streamed)
    finally:
        subprocess.run([*cluster, "down", *home], check=True)


@pytest.fixture(scope="module", params=[local, flink], ids=["local", "flink"])
def watched(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("watched")) as run:
        yield run


def test_every_query_of_the_dashboard_and_of_the_rules_returns_numbers(watched):
    asked = [query for job in watched.jobs for query in queries(job)]
    assert len(asked) > 30
    found = {query: watched.values(query) for query in asked}
    assert {query: values for query, values in found.items() if not any(map(math.isfinite, values))} == {}


def test_the_figures_grow_to_what_the_run_itself_has_counted(watched):
    def last(figure, step, job="beam_pipeline"):
        return max(watched.values(f'sum({PREFIX}{prometheus_name(figure)}_total{{step="{step}", job="{job}"}})'))

    assert len(watched.values("sum(up{job='beam_pipeline'}) > 0")) >= 2
    counted = counters(watched.output)
    assert last("media", "plan") == counted["plan.media"] == watched.media
    assert (
        last("failed", "decode") <= counted["decode.failed"] == 1
    )  # it may fail behind the last look at the figures
    for job in watched.jobs:
        assert 0 < last("windows", "transcribe", job) <= counted["transcribe.windows"]
    assert 0 < last("audio_ms", "decode") <= counted["decode.audio_ms"] / 1000
    assert max(watched.values("beam_pipeline:media_left")) > min(watched.values("beam_pipeline:media_left")) >= 0


def test_what_steps_count_is_what_is_served(watched):
    beams_own = {"transcribe.num_inferences"}
    known = {f"{step}.{name}" for name, (_, steps) in FIGURES.items() for step in steps}
    counted = set(counters(watched.output)) - beams_own
    assert counted <= known
    assert {f"{step}.elements_in" for step in STEPS if step != "translate"} <= counted


def test_flinks_reporter_gets_the_names_and_units_that_the_dashboard_asks_for(tmp_path):
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(DATA))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as reporter:
        threading.Thread(target=reporter.serve_forever, daemon=True).start()
        since = time.time()
        with prometheus(tmp_path, flink=[f"127.0.0.1:{reporter.server_port}"]) as server:
            expected = {
                'beam_pipeline_media_total{job="flink", step="save"}': 6,
                'beam_pipeline_windows_total{job="flink", step="transcribe"}': 55,
                'beam_pipeline_audio_seconds_total{job="flink", step="decode"}': 401.99,
                'beam_pipeline_speech_seconds_total{job="flink", step="decode"}': 196.352,
            }
            for query, value in expected.items():
                assert set(until_there(server, query, since)) == {value}, query
        reporter.shutdown()


def until_there(server, query, since):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if values := server.values(query, since):
            return values
        time.sleep(0.2)
    return []


def test_the_shipped_configuration_is_what_prometheus_takes():
    for check in (["config", "prometheus.yml"], ["rules", "alerts.yml", "flink.yml"]):
        done = subprocess.run(["promtool", "check", *check], cwd=MONITORING, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_not_before(tmp_path):
    for path in (MONITORING / "alerts.yml", DATA / "alerts_test.yml"):
        shutil.copy(path, tmp_path)
    command = ["promtool", "test", "rules", "alerts_test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_names_every_figure_every_alert_and_every_panel():
    page = (ROOT / "docs" / "monitoring.md").read_text()
    names = [f"{PREFIX}{prometheus_name(figure)}_total" for figure in FIGURES]
    names += [rule["alert"] for rule in RULES if "alert" in rule] + [panel["title"] for panel in PANELS]
    assert [name for name in names if name not in page] == []


def test_a_port_that_is_taken_ends_a_run_before_it_begins(cli, tmp_path):
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.BaseHTTPRequestHandler) as other:
        flags = ("--input", SAMPLES, "--output", tmp_path / "out", "--model", "demo")
        done = cli(*flags, "--metrics_port", other.server_port)
    assert done.code == 2
    assert f"error: --metrics_port {other.server_port} cannot be served: Address already in use" in done.err
    assert not (tmp_path / "out").exists()

"""A real Airflow in an environment of its own, with the shipped DAG in its folder: `airflow dags test` by value."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.conftest import ROOT

SHIPPED = ROOT / "runners" / "airflow"
KEY = "sk-known-to-the-connection-alone"
IMPATIENT = """\
from datetime import timedelta
from beam_pipeline_airflow import media_dag
dag = media_dag("impatient", schedule=None, input=["none"], output="none", model="demo", wait_hours=0)
for task in dag.tasks:
    task.retry_delay = timedelta(seconds=1)
dag.get_task("new_media").poke_interval = 1
"""


class Ended(NamedTuple):
    """A run of a DAG: what Airflow's database holds of it, and what was logged."""

    state: str
    tasks: dict[str, str | None]
    tries: dict[str, int]
    returned: dict[str, Any]  # XCom by task
    log: str


class Airflow:
    """Airflow's command line on a home of its own."""

    def __init__(self, program: pathlib.Path, home: pathlib.Path) -> None:
        self.program, self.home = program, home
        connection = {"conn_type": "generic", "extra": {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": KEY}}
        self._env = {
            **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OPENAI_API_KEY")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW_CONN_BEAM_PIPELINE": json.dumps(connection),
            "AIRFLOW_VAR_BEAM_PIPELINE_PYTHON": sys.executable,
        }

    def python(self, code: str) -> Any:
        """What the code prints as JSON in its last line, run by Airflow's own Python."""
        python = self.program.with_name("python")
        command = [python, "-c", code]
        done = subprocess.run(command, env=self._env, cwd=self.home, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def prepare(self) -> None:
        shutil.copytree(SHIPPED, self.home / "dags")
        (self.home / "dags" / "impatient.py").write_text(IMPATIENT)
        subprocess.run([self.program, "db", "migrate"], env=self._env, check=True, capture_output=True, timeout=300)

    def run(self, dag_id: str, **form: Any) -> Ended:
        """Run the DAG to its end with this form."""
        with self.running(dag_id, **form) as going:
            return going.ended()

    @contextlib.contextmanager
    def running(self, dag_id: str, **form: Any) -> Iterator[Going]:
        log = self.home / f"{time.monotonic_ns()}.log"
        command = [self.program, "dags", "test", dag_id, "--conf", json.dumps(form)]
        with log.open("w") as out:
            process = subprocess.Popen(command, env=self._env, cwd=self.home, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield Going(process, log, self.home / "airflow.db")
        finally:
            process.kill()
            process.wait()


class Going:
    """A run of a DAG under way."""

    def __init__(self, process: subprocess.Popen[bytes], log: pathlib.Path, database: pathlib.Path) -> None:
        self.process, self._log, self._database = process, log, database
        self._before = self._last_run()

    def ended(self, timeout_s: float = 900) -> Ended:
        self.process.wait(timeout_s)
        assert self._last_run() != self._before, self._log.read_text()
        return self.seen()

    def until(self, true: Callable[[Ended], bool], timeout_s: float = 300) -> Ended:
        """How it stands when this has become true."""
        until = time.monotonic() + timeout_s
        while self._last_run() == self._before or not true(self.seen()):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.2)  # polls the database of another process
        return self.seen()

    def seen(self) -> Ended:
        run = self._last_run()
        (state,) = self._rows("select state from dag_run where run_id = ?", run)[0]
        tasks = self._rows("select task_id, state, try_number from task_instance where run_id = ?", run)
        returned = self._rows("select task_id, value from xcom where run_id = ? and key = 'return_value'", run)
        return Ended(
            state,
            {name: state for name, state, _ in tasks},
            {name: number for name, _, number in tasks},
            {name: json.loads(value) for name, value in returned},
            self._log.read_text(),
        )

    def _last_run(self) -> str:
        rows = self._rows("select run_id from dag_run order by id desc limit 1")
        return rows[0][0] if rows else ""

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self._database, timeout=30)) as database:
            return database.execute(query, values).fetchall()


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    """Airflow with a fresh database, where script/airflow-test says that there is one."""
    venv = os.environ.get("BEAM_PIPELINE_AIRFLOW_VENV", "")
    program = pathlib.Path(venv).absolute() / "bin" / "airflow"
    if not venv or not program.exists():
        pytest.skip("NOT TESTED: the Airflow DAG, which script/airflow-test runs in an environment of its own")
    made = Airflow(program, tmp_path_factory.mktemp("airflow"))
    made.prepare()
    return made

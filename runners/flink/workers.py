"""The pool of Python workers beside a TaskManager: `python -m runners.flink.workers --port 50000`.

Flink asks it, over gRPC, for a worker for each job and TaskManager (`--environment_type=EXTERNAL`). It differs from
Beam's own pool in what that is known for: options reach the workers, what a worker prints goes to the pool's log
instead of into a pipe that nobody reads, workers end with the pool however it ends, and one that cannot work says why
to whoever submitted.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from runners import processes, versions

STOP_S = 5.0  # for a worker to end by itself

log = logging.getLogger(__name__)


class Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts and stops workers as Flink asks."""

    def __init__(self, worker: Sequence[str] = ("runners.flink.worker",)) -> None:
        self._worker = worker  # the module that is a worker, with its arguments
        self._workers: dict[str, list[subprocess.Popen[bytes]]] = {}  # TaskManagers count theirs from 1-1, each anew
        self._changing = threading.Lock()

    def StartWorker(self, request: Any, _: object) -> beam_fn_api_pb2.StartWorkerResponse:
        unlike = versions.mismatch(dict(request.params))
        fault = unlike and f"it has {unlike}: install the same there as where you submit"
        if fault := fault or versions.missing():
            return beam_fn_api_pb2.StartWorkerResponse(error=f"WorkerError: this worker cannot run the job: {fault}")
        # Java's loopback address may be an IPv6 one that is written as localhost; it is taken as it is told.
        words = ["--id", request.worker_id, "--provision_endpoint", request.provision_endpoint.url]
        command, environment = processes.command(*self._worker, *words), {**os.environ, **processes.environment()}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
        with self._changing:
            self._workers.setdefault(request.worker_id, []).append(process)
        log.info("worker %s: process %d", request.worker_id, process.pid)
        threading.Thread(target=self._reap, args=(request.worker_id, process), daemon=True).start()
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, _: object) -> beam_fn_api_pb2.StopWorkerResponse:
        with self._changing:
            named = list(self._workers.get(request.worker_id, ()))
        # of several nobody knows whose is meant; each ends when its runner hangs up
        if len(named) == 1:
            _stop(named[0])
        return beam_fn_api_pb2.StopWorkerResponse()

    def stop(self) -> None:
        """End every worker."""
        with self._changing:
            running = [process for named in self._workers.values() for process in named]
        for process in running:
            _stop(process)

    def _reap(self, worker: str, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        with self._changing:
            self._workers[worker].remove(process)
        log.log(logging.INFO if code in (0, -signal.SIGTERM) else logging.ERROR, "worker %s ended: %d", worker, code)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def main(pool: Pool | None = None, argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop."""
    words = argparse.ArgumentParser(
        prog="python -m runners.flink.workers", description=(__doc__ or "").splitlines()[0]
    )
    words.add_argument("--host", default="localhost", help="address to listen on")
    words.add_argument("--port", type=int, default=50000)
    given = words.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if fault := versions.missing():
        log.error("error: %s", fault)
        return 1
    pool, server = pool or Pool(), grpc.server(futures.ThreadPoolExecutor(16))
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        server.add_insecure_port(f"{given.host}:{given.port}")
    except RuntimeError:
        log.error("error: port %d is taken: free it, or give another one with --port", given.port)
        return 1
    server.start()
    log.info("listening on %s:%d with %s", given.host, given.port, versions.versions())
    signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
    server.wait_for_termination()
    pool.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

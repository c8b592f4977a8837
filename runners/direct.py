"""Running on this machine, without Prism.

Beam's own DirectRunner first tries to download the Prism binary, which hangs behind a silent firewall, and its
FnApiRunner by name gives no options to workers in other processes. This one is FnApiRunner with the options, and with
worker processes (`--direct_running_mode=multi_processing`) whose end is noticed.
"""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Callable

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_provision_api_pb2
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers
from apache_beam.runners.portability.portable_runner import JobServiceHandle

from runners import processes

NAMES = ("directrunner", "switchingdirectrunner", "direct", "")  # in lower case
ANSWER_EVERY_S = 0.2


def direct_runner(options: PipelineOptions) -> fn_runner.FnApiRunner:
    """The runner of `--runner=DirectRunner`."""
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(info))


@worker_handlers.WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class WorkerProcess(worker_handlers.SubprocessSdkWorkerHandler):
    """A worker process, in place of Beam's.

    Beam gives the path of Python to a shell as it is, with blanks and apostrophes, and waits for ever for an answer
    of a process that could not start, or was killed.
    """

    def start_worker(self) -> None:
        worker = local_job_service.SubprocessSdkWorker(
            command().encode(), self.control_address, self.provision_info, self.worker_id
        )
        self._closing = threading.Event()
        self.worker_thread = threading.Thread(target=self._watch, args=(worker.run,), daemon=True)
        self.worker_thread.start()

    def close(self) -> None:
        self._closing.set()
        super().close()

    def _watch(self, run: Callable[[], None]) -> None:
        """Stay with the process; where it ends too early, answer in its place whatever it is asked."""
        code = 0
        try:
            run()
        except RuntimeError as error:  # "… exited with return code 127"
            code = int(str(error).split()[-1])
        fault = f"WorkerError: a worker process {exit_reason(code)}"
        while not self._closing.wait(ANSWER_EVERY_S):
            for name, asked in list(self.control_conn._futures_by_id.items()):
                asked.set(beam_fn_api_pb2.InstructionResponse(instruction_id=name, error=fault))


def command() -> str:
    """What a shell starts a worker process by; its variables come from Beam."""
    variables = [f"{name}={value}" for name, value in processes.environment().items()]
    python = processes.command("apache_beam.runners.worker.sdk_worker_main")
    return "exec " + shlex.join(["env", *variables, *python])


def exit_reason(code: int) -> str:
    """Why a process ended too early, as text."""
    if code < 0:
        return f"was killed ({signal.strsignal(-code)}), perhaps for want of memory"
    return f"ended with exit code {code}; what it said stands above"

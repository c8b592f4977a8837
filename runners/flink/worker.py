"""One worker process, by Beam's container contract: it asks where to report and with what options, then serves.

Started by the pool in workers.py, which holds the other end of its standard input: when that closes, the pool is
gone, and the worker goes too, with its decoders.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc, endpoints_pb2
from google.protobuf import json_format, text_format

ANSWER_S = 60.0


def environment(provision: beam_provision_api_pb2.ProvisionInfo, worker: str) -> dict[str, str]:
    """What Beam's worker reads from its environment."""
    found = {
        "WORKER_ID": worker,
        "PIPELINE_OPTIONS": json.dumps(json_format.MessageToDict(provision.pipeline_options)),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(provision.logging_endpoint.url),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(provision.control_endpoint.url),
        "RUNNER_CAPABILITIES": " ".join(provision.runner_capabilities),
    }
    if provision.status_endpoint.url:
        found["STATUS_API_SERVICE_DESCRIPTOR"] = _descriptor(provision.status_endpoint.url)
    return found


def _descriptor(url: str) -> str:
    return str(text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url)))


def provision_info(endpoint: str, worker: str) -> beam_provision_api_pb2.ProvisionInfo:
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        return service.GetProvisionInfo(request, metadata=[("worker_id", worker)], timeout=ANSWER_S).info


def _end_with_the_pool() -> None:
    """Wait for the pool's end of the pipe to close. Decoders end by their broken pipes."""
    while os.read(0, 1):
        pass
    os._exit(0)


def main(argv: Sequence[str] | None = None) -> None:
    """Be the worker until the runner hangs up."""
    threading.Thread(target=_end_with_the_pool, daemon=True).start()
    words = argparse.ArgumentParser()
    words.add_argument("--id", required=True)
    words.add_argument("--provision_endpoint", required=True)
    given = words.parse_args(argv)
    os.environ.update(environment(provision_info(given.provision_endpoint, given.id), given.id))
    from apache_beam.runners.worker import sdk_worker_main  # reads the environment while it is imported

    try:
        sdk_worker_main.main(sys.argv[:1])
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.CANCELLED:  # Flink hangs up when the job has ended
            raise
    sys.stderr.flush()
    # a bundle of a job that is gone may still be under way in a thread
    os._exit(0)


if __name__ == "__main__":
    main()

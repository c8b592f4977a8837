"""What the Dataflow service tells of jobs, through Google's own client."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from runners.clusters import JobState, RemoteError

ASK_S = 30.0
MESSAGES = 3  # the newest errors of a job: they repeat one another
ENDED = {"DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED"}
MISSING = "the packages for Google Cloud are not installed: pip install 'beam-pipeline[dataflow]'"

log = logging.getLogger(__name__)


class DataflowError(RemoteError):
    """Dataflow cannot be asked, or cannot run the job; the message says what to do."""


class Service(NamedTuple):
    """Dataflow in one region of one project."""

    project: str
    region: str
    # of another service than Google's own; one on this host is asked without a key
    endpoint: str = ""

    def active(self, name: str) -> str:
        """The id of the job of this name that has not ended; "" where there is none. Names are unique among those."""
        with _translated_errors():
            found = self._client("Jobs").list_jobs(
                {"project_id": self.project, "location": self.region, "filter": "ACTIVE", "name": name},
                timeout=ASK_S,
            )
            return next((job.id for job in found if job.name == name), "")

    def state(self, job_id: str) -> JobState:
        with _translated_errors():
            job = self._client("Jobs").get_job(self._of(job_id), timeout=ASK_S)
        name = job.current_state.name.removeprefix("JOB_STATE_")
        return JobState(name.lower(), name in ENDED, name == "FAILED", name == "CANCELLED")

    def errors(self, job_id: str) -> str:
        """What a job reports as errors, the newest ones, or ""."""
        with _translated_errors():
            wanted = {**self._of(job_id), "minimum_importance": "JOB_MESSAGE_ERROR"}
            found = list(self._client("Messages").list_job_messages(wanted, timeout=ASK_S))
        return "\n".join(message.message_text for message in found[-MESSAGES:])

    def counter(self, job_id: str, namespace: str, name: str) -> int | None:
        """The committed value of a counter of ours; None before it is known."""
        with _translated_errors():
            response = self._client("Metrics").get_job_metrics(self._of(job_id), timeout=ASK_S)
        for metric in response.metrics:
            context = metric.name.context
            if (metric.name.name, context.get("namespace")) == (name, namespace) and "tentative" not in context:
                return int(metric.scalar)
        return None

    def cancel(self, job_id: str) -> None:
        with _translated_errors():
            job = {"requested_state": "JOB_STATE_CANCELLED"}
            self._client("Jobs").update_job({**self._of(job_id), "job": job}, timeout=ASK_S)

    def _of(self, job_id: str) -> dict[str, Any]:
        return {"project_id": self.project, "location": self.region, "job_id": job_id}

    def _client(self, kind: str) -> Any:
        from google.api_core.client_options import ClientOptions
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import dataflow_v1beta3

        client = getattr(dataflow_v1beta3, f"{kind}V1Beta3Client")
        if "localhost" in self.endpoint:  # as Beam decides it
            options = ClientOptions(api_endpoint=self.endpoint)
            return client(credentials=AnonymousCredentials(), client_options=options, transport="rest")
        return client(client_options=ClientOptions(api_endpoint=self.endpoint) if self.endpoint else None)


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise errors of Google's client as DataflowError."""
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
    except ImportError as error:
        raise DataflowError(MISSING) from error
    try:
        yield
    except ImportError as error:
        raise DataflowError(MISSING) from error
    except GoogleAuthError as error:
        raise DataflowError(
            f"no Google credentials ({error}): gcloud auth application-default login, or set "
            "GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    except (GoogleAPIError, OSError) as error:  # requests' errors are OSErrors
        raise DataflowError(f"Dataflow does not answer: {str(error) or type(error).__name__}") from error


def still_runs(record: dict[str, str]) -> bool:
    """Whether a job that `record` tells how to find has not ended; where Dataflow cannot be asked, that it runs."""
    service = Service(record["project"], record["dataflow"], record.get("endpoint", ""))
    try:
        return bool(service.active(record["name"]))
    except DataflowError as error:
        log.warning("%s; so job %s is taken to run", error, record["name"])
        return True

"""A job on Dataflow: what has to be right before it is submitted, what it needs there, and how it is followed."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions, WorkerOptions

from runners import presets, versions
from runners.clusters import JobState
from runners.dataflow.machines import CPU_MACHINE, DISK_GB, GPUS, Gpu
from runners.dataflow.service import MISSING, DataflowError, Service

BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?")
CONSOLE = "https://console.cloud.google.com/dataflow/jobs"
GOOGLES = "https://dataflow.googleapis.com"
PLAIN_IMAGE = re.compile(r"^(docker\.io/)?apache/beam_python|^gcr\.io/(cloud-dataflow|apache-beam)")


class DataflowFlags(NamedTuple):
    """The product's own flags that concern Dataflow."""

    places: tuple[str, ...]  # inputs, and the output last
    gpu: str  # a name of GPUS, or "none"
    model: str

    @property
    def machine(self) -> Gpu | None:
        return GPUS.get(self.gpu)


def find(
    job: presets.Job, asked: DataflowFlags, options: PipelineOptions
) -> tuple[list[str], dict[str, str], DataflowJob]:
    """The flags and the hints for Dataflow, and the job there. Nothing is asked of the service yet.

    Raises:
        ValueError: flags are missing or contradict each other; all of what is found is said at once.
        DataflowError: the packages for Google Cloud are missing.
    """
    google = options.view_as(GoogleCloudOptions)
    faults = [*_missing(google, options), *_places(asked, google), *_gpu(asked, google, options), *_image(options)]
    if faults:
        raise ValueError("this cannot run on Dataflow:\n" + "\n".join(f"  - {fault}" for fault in faults))
    try:
        import apache_beam.runners.dataflow.internal.apiclient  # noqa: F401 - what Beam submits with
    except ImportError as error:
        raise DataflowError(MISSING) from error
    scratch = "" if google.temp_location else f"{asked.places[-1].rstrip('/')}/_work/dataflow"
    place = presets.DataflowPlace(CPU_MACHINE.type, DISK_GB, scratch, _labels(asked))
    endpoint = (google.dataflow_endpoint or "").rstrip("/")
    service = Service(google.project, google.region, "" if endpoint == GOOGLES else endpoint)
    hints = presets.dataflow_hints(asked.machine.accelerator_hint) if asked.machine else {}
    return presets.dataflow(job, place), hints, DataflowJob(service, job.name, bool(google.template_location))


def _missing(google: GoogleCloudOptions, options: PipelineOptions) -> list[str]:
    """Flags that Dataflow needs; Beam would take the region from gcloud's settings, or us-central1."""
    given = options.get_all_options(drop_default=True)
    faults = [f"--{name} is missing" for name in ("project", "region") if not given.get(name)]
    if options.view_as(StandardOptions).streaming:
        faults.append("--streaming: media are a batch; leave it out")
    return faults


def _places(asked: DataflowFlags, google: GoogleCloudOptions) -> list[str]:
    """Places that workers do not see, or that cannot be buckets."""
    faults = [
        f"{place} is on this machine, where Dataflow's workers do not see it: copy it to gs:// or s3://"
        for place in asked.places
        if "://" not in place
    ]
    if asked.model.startswith(("/", "~", ".")):
        faults.append(f"--model {asked.model} is a folder of this machine: bake it in, see docs/containers.md")
    if not google.temp_location and not asked.places[-1].startswith("gs://"):
        faults.append("--temp_location is missing: a gs:// folder, since --output is none")
    folders = {"--output": asked.places[-1], "--temp_location": google.temp_location}
    faults += [
        f"{flag} {place}: that is no gs://BUCKET/FOLDER"
        for flag, place in folders.items()
        if place and (flag != "--output" or place.startswith("gs://")) and not BUCKET.fullmatch(place)
    ]
    return faults


def _gpu(asked: DataflowFlags, google: GoogleCloudOptions, options: PipelineOptions) -> list[str]:
    """GPUs that are not in the region, and what Dataflow does not do together with hints."""
    gpu, workers = asked.machine, options.view_as(WorkerOptions)
    if gpu is None:
        return []
    faults = []
    if google.region and google.region not in gpu.regions.split() and not (workers.worker_zone or workers.zone):
        faults.append(
            f"--region {google.region} has no {asked.gpu.upper()}: take one of {gpu.regions}, another "
            "--dataflow_gpu, or name a zone that has it with --worker_zone"
        )
    if google.flexrs_goal:
        faults.append("--flexrs_goal: FlexRS has no GPUs; leave it out, or take --dataflow_gpu none")
    if any("worker_accelerator" in each for each in google.dataflow_service_options or []):
        faults.append(
            "worker_accelerator gives a GPU to every worker, --dataflow_gpu to those that need one, and Dataflow "
            "does not do both: leave it out, or take --dataflow_gpu none"
        )
    return faults


def _image(options: PipelineOptions) -> list[str]:
    """An image that cannot have the package, or whose tag says that it has other versions."""
    image = options.view_as(WorkerOptions).sdk_container_image
    if not image:
        return ["--sdk_container_image is missing: the image with this package, see docs/containers.md"]
    if PLAIN_IMAGE.search(image):
        return [f"--sdk_container_image {image} is Beam's own, without this package: see docs/containers.md"]
    unlike = versions.image_mismatch(image)
    return [f"--sdk_container_image {image} has {unlike}: build it from this checkout"] if unlike else []


def _labels(asked: DataflowFlags) -> dict[str, str]:
    """What bills and job lists can be told apart by; Google allows lower case, digits, `_` and `-`."""
    ours = {"app": "beam-pipeline", "model": asked.model, "gpu": asked.gpu}
    return {name: re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63] for name, value in ours.items()}


class DataflowJob:
    """A `RemoteJob`. Before its submission it is known by its name, unique among jobs that have not ended."""

    def __init__(self, service: Service, name: str, staged: bool) -> None:
        self._service, self._id = service, ""
        self.title = f"Dataflow job {name}"
        self.place = f"Dataflow in {service.region}"
        self.record = {"dataflow": service.region, "project": service.project, "name": name}
        if service.endpoint:
            self.record["endpoint"] = service.endpoint
        self.is_here, self.staged = False, staged

    def link(self, result: Any) -> str | None:
        if self.staged:
            return "the launcher that starts it"
        self._id = result.job_id()
        return f"{CONSOLE}/{self._service.region}/{self._id}?project={self._service.project}"

    def state(self) -> JobState | None:
        return self._service.state(self._id)

    def saved(self) -> int | None:
        return self._service.counter(self._id, "save", "media")

    def cause(self) -> str:
        return self._service.errors(self._id)

    def cancel(self) -> None:
        if self._id and not self._service.state(self._id).ended:
            self._service.cancel(self._id)

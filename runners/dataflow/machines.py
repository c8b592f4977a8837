"""The machines with a GPU that Dataflow offers: what each is called, what it has, where it is, and what it costs.

Kept here so that a wrong choice is found before anything is submitted. Nothing of it was verified at the service.
Prices are list prices of us-central1, of about the month in `PRICES_OF`; they change.
"""

from __future__ import annotations

from typing import NamedTuple

PRICES_OF = "2025-10"
USD_VCPU_HOUR, USD_GB_HOUR, USD_DISK_GB_HOUR = 0.056, 0.003557, 0.000054  # batch workers of Dataflow
# the image with PyTorch and a model is 15 GB, and what shuffle and logs need
DISK_GB = 100
# the default driver is older than what current PyTorch builds need
DRIVER = "install-nvidia-driver:5xx"


class Machine(NamedTuple):
    """A kind of worker."""

    type: str
    vcpus: int
    memory_gb: float

    @property
    def usd_per_hour(self) -> float:
        return self.vcpus * USD_VCPU_HOUR + self.memory_gb * USD_GB_HOUR + DISK_GB * USD_DISK_GB_HOUR


class Gpu(NamedTuple):
    """A GPU, with the machine that it is used in."""

    accelerator: str  # what Compute Engine calls it
    memory_gb: int
    usd_per_hour: float
    # Hours of audio an hour, assumed for large-v3 with one task: for the A100 the long-form figure of the Open ASR
    # Leaderboard, for the others a guess between their ratios to it in arithmetic and in memory bandwidth.
    speed: float
    machine: Machine
    regions: str  # their names, with spaces between

    @property
    def accelerator_hint(self) -> str:
        return f"type:{self.accelerator};count:1;machine_type:{self.machine.type};{DRIVER}"


CPU_MACHINE = Machine("n2-standard-4", 4, 16)  # plans, and writes the dataset

# 8 vCPUs decode 4,000 x real time of opus at 490 x a core, which is more than any of these GPUs transcribes; the rest
# is for voice activity detection, the slowest part at 230 x a core, and for the process that feeds the model.
DEFAULT_GPU = "l4"  # the cheapest an hour of audio
GPUS = {
    "t4": Gpu("nvidia-tesla-t4", 16, 0.42, 13, Machine("n1-standard-8", 8, 30), (
        "asia-east1 asia-east2 asia-northeast1 asia-northeast3 asia-south1 asia-southeast1 asia-southeast2 "
        "australia-southeast1 europe-central2 europe-west1 europe-west2 europe-west3 europe-west4 me-west1 "
        "northamerica-northeast1 southamerica-east1 us-central1 us-east1 us-east4 us-west1 us-west2 us-west3 "
        "us-west4")),
    "l4": Gpu("nvidia-l4", 24, 0.67, 20, Machine("g2-standard-8", 8, 32), (
        "asia-east1 asia-northeast1 asia-northeast3 asia-south1 asia-southeast1 europe-west1 europe-west2 "
        "europe-west3 europe-west4 europe-west6 me-central2 northamerica-northeast2 us-central1 us-east1 us-east4 "
        "us-west1 us-west4")),
    "a100": Gpu("nvidia-tesla-a100", 40, 3.52, 69, Machine("a2-highgpu-1g", 12, 85), (
        "asia-northeast1 asia-northeast3 asia-southeast1 europe-west4 me-west1 us-central1 us-east1 us-west1 "
        "us-west3 us-west4")),
    "a100-80gb": Gpu("nvidia-a100-80gb", 80, 4.71, 75, Machine("a2-ultragpu-1g", 12, 170), (
        "asia-southeast1 europe-west4 us-central1 us-east4 us-east5")),
    "h100": Gpu("nvidia-h100-80gb", 80, 11.77, 150, Machine("a3-highgpu-1g", 26, 234), (
        "asia-northeast1 asia-south1 asia-southeast1 europe-west1 europe-west2 europe-west4 us-central1 us-east4 "
        "us-east5 us-west1 us-west4")),
}  # fmt: skip

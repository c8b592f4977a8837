"""The faster-whisper engine: Whisper checkpoints on CTranslate2, without torch; it is loaded with the model alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transforms.engines.checkpoint import CheckpointEngine
from transforms.engines.faster_whisper_settings import FasterWhisperSettings
from transforms.engines.placement import BATCH_ON_CPU, LARGEST_BATCH, Placement, claim_gpu, usable_cpus

if TYPE_CHECKING:
    from transforms.engines.faster_whisper_model import FasterWhisperModel


class FasterWhisperEngine(CheckpointEngine[FasterWhisperSettings]):
    """The `Engine` of Whisper checkpoints on CTranslate2."""

    kind = FasterWhisperSettings

    def placement(self, claim: bool = True) -> Placement:
        from ctranslate2 import get_cuda_device_count, get_supported_compute_types

        chosen, gpus = self.settings, get_cuda_device_count()
        device = chosen.device
        if device == "auto":
            device = "cpu" if not gpus else f"cuda:{claim_gpu(gpus)}" if claim else "cuda"
        kind, _, number = device.partition(":")
        if kind not in ("cpu", "cuda") or (kind == "cuda" and int(number or 0) >= gpus):
            raise ValueError(f"device {device}: CTranslate2 finds none here; leave it out to take what there is")
        known = get_supported_compute_types(kind)
        if chosen.compute_type not in {"default", "auto", *known}:
            raise ValueError(
                f"--compute_type {chosen.compute_type}: the {kind} here does not have it; "
                f"choose from default, auto, {', '.join(sorted(known))}"
            )
        most = BATCH_ON_CPU if kind == "cpu" else LARGEST_BATCH
        precision = chosen.compute_type if chosen.compute_type != "default" else "the weights' precision"
        return Placement(device, precision, chosen.batch_size or most)

    def cpu_threads(self) -> int:
        """Of one batch."""
        return self.settings.cpu_threads or max(1, usable_cpus() // self.settings.num_workers)

    def load(self) -> FasterWhisperModel:
        from transforms.engines.faster_whisper_model import FasterWhisperModel

        return FasterWhisperModel(self.settings, self.placement(), self.cpu_threads())

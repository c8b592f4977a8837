"""Media in, transcripts, translations, subtitles and a Parquet dataset out.

    from beam_pipeline import transcribe

Importing this imports neither Beam nor a model: every command and every worker does it.
"""

from beam_pipeline import startup  # noqa: F401 - first of all
from beam_pipeline.api.result import Result
from beam_pipeline.api.transcribe import transcribe
from beam_pipeline.errors import NoRunError, OutputInUseError, RunFailedError, TranscribeError, UsageError

__all__ = [
    "NoRunError",
    "OutputInUseError",
    "Result",
    "RunFailedError",
    "TranscribeError",
    "UsageError",
    "transcribe",
]

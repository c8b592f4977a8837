"""The flags of Beam's Flink runner that only its Java part knows; Beam for Python would drop them in silence."""

from __future__ import annotations

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

# As DescribePipelineOptions of the job server lists them (runner 2.62), less those that Beam for Python knows.
NAMES = (
    "allow_non_restored_state", "attached_mode", "auto_watermark_interval", "checkpoint_timeout_millis",
    "checkpointing_interval", "checkpointing_mode", "disable_metrics", "enable_stable_input_drain",
    "execution_mode_for_batch", "execution_retry_delay", "externalized_checkpoints_enabled",
    "fail_on_checkpointing_errors", "faster_copy", "finish_bundle_before_checkpointing", "flink_conf_dir",
    "force_unaligned_checkpoint_enabled", "job_check_interval_in_secs", "latency_tracking_interval",
    "max_bundle_size", "max_bundle_time_mills", "min_pause_between_checkpoints", "num_concurrent_checkpoints",
    "number_of_execution_retries", "object_reuse", "operator_chaining", "re_iterable_group_by_key_result",
    "report_checkpoint_duration", "retain_externalized_checkpoints_on_cancellation", "savepoint_path",
    "shutdown_sources_after_idle_ms", "state_backend", "state_backend_factory", "state_backend_storage_path",
    "unaligned_checkpoint_enabled", "use_data_stream_for_batch",
)  # fmt: skip


class FlinkJavaOptions(PipelineOptions):
    """Beam finds it by its base class."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        for name in NAMES:
            parser.add_argument(f"--{name}", help=f"{name} of Beam's Flink runner")

"""Whether remote jobs of earlier runs still run, by the `job` of a lease's record."""

from __future__ import annotations


def still_runs(record: dict[str, str]) -> bool:
    """Whether the job that a lease's record names still runs; False for a damaged record."""
    if {"dataflow", "project", "name"} <= set(record):
        from runners.dataflow import service

        return service.still_runs(record)
    if {"flink", "name"} <= set(record):
        from runners.flink import rest

        return rest.still_runs(record)
    return False

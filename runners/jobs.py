"""Jobs of earlier runs, wherever they are: asked for by what an owner's record says of them."""

from __future__ import annotations


def still_runs(record: dict[str, str]) -> bool:
    """Whether a job that an owner's record tells how to find has not ended; a damaged record tells of none."""
    if {"dataflow", "project", "name"} <= set(record):
        from runners.dataflow import service

        return service.still_runs(record)
    if {"flink", "name"} <= set(record):
        from runners.flink import rest

        return rest.still_runs(record)
    return False

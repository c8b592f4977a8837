"""Resource hints for the stage that holds the model, and for nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.transforms.resources import parse_resource_hints


def give_hints(pipeline: beam.Pipeline, hints: Mapping[str, str], shuffle: str) -> None:
    """Give the same hints to every step behind a shuffle, up to the next one.

    Steps of different hints are never fused, so the borders have to lie where there is a shuffle anyway. They are set
    on the graph and not with `with_resource_hints`, which sums bundle limits each time that a step is added inside
    another: 2 became 6 and 14 (Beam 2.77), and the chain fell into three stages.

    Args:
        shuffle: the label of the transform in which the stage begins.

    Raises:
        ValueError: Beam does not know a hint.
    """
    pipeline.visit(_Hints(parse_resource_hints(dict(hints)), shuffle))


class _Hints(PipelineVisitor):
    """Visits in the order of the graph, which is one chain."""

    def __init__(self, hints: dict[str, bytes], shuffle: str) -> None:
        self._hints, self._shuffle, self._behind = hints, shuffle, False

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        if isinstance(transform_node.transform, beam.GroupByKey):
            self._behind = transform_node.full_label.startswith(self._shuffle)
        elif self._behind:
            transform_node.resource_hints = self._hints

"""CollectMedia: the `--input` values → MediaFile, one for each recording, or DeadLetter for what is not there.

A value is a media file, a folder (searched through, known media suffixes), a pattern, or a manifest. A recording
named twice is taken once. Nothing is opened but manifests, pointers, and what may be a text under a recording's
suffix.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import apache_beam as beam

from transforms.dofns.base import StepDoFn
from transforms.dofns.figures import COLLECT
from transforms.dofns.metrics import UNWATCHED, Watch
from transforms.inputs.folders import Skipped, Tally
from transforms.inputs.identity import SETTLED, keyed
from transforms.inputs.listing import Found, Inputs, list_inputs
from transforms.records import DeadLetter


@dataclasses.dataclass
class CollectMedia(beam.PTransform):
    """List the recordings of all inputs, without duplicates, each with a unique id and a unique name."""

    inputs: Inputs
    watch: Watch = UNWATCHED

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Found]:
        found = (
            begin
            | "Start" >> beam.Impulse()
            | "List" >> beam.ParDo(ListInputs(self.inputs, self.watch)).with_output_types(Found)
        )
        for what, key, settle in SETTLED:
            found = (
                found
                | f"KeyBy{what}" >> beam.Map(keyed, key).with_output_types(tuple[str, Found])
                | f"GroupBy{what}" >> beam.GroupByKey()
                | f"Settle{what}" >> beam.FlatMap(settle, self.inputs.work).with_output_types(Found)
            )
        return found | "Count" >> beam.ParDo(CountMedia(self.watch)).with_output_types(Found)


class ListInputs(StepDoFn):
    """Lists all inputs, counts what they name, and notes what was passed over."""

    step = COLLECT

    def __init__(self, inputs: Inputs, watch: Watch) -> None:
        super().__init__(watch)
        self._inputs = inputs

    def process(self, start: bytes) -> Iterator[Found]:
        tally = Tally()
        with self._metrics.timed():
            for found in list_inputs(start, self._inputs):
                if isinstance(found, Skipped):
                    tally.add(found)
                    continue
                self._metrics.count(elements_in=1)
                yield found
            if self._inputs.work and self._inputs.work.run:
                self._inputs.work.commit_skipped(tally.figures())


class CountMedia(StepDoFn):
    """Counts media that leave the step, each once."""

    step = COLLECT

    def process(self, found: Found) -> list[Found]:
        self._metrics.count(elements_out=1, failed=isinstance(found, DeadLetter))
        return [found]

"""The result of `transcribe`: how the run ended, and iterators over the rows of its dataset."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from beam_pipeline.api.types import DeadLetterRow, SegmentRow, TranscriptRow
from beam_pipeline.errors import UsageError
from transforms.storage import Stores

if TYPE_CHECKING:
    import pyarrow as pa


@dataclasses.dataclass(frozen=True)
class Result:
    """A run that has ended. Rows are read lazily from the output, a few hundred at a time.

    The methods below give them as dicts in the order of the dataset, of the columns that are named, or of all:
    docs/schema.md says what is in each. They raise NoRunError where there is no dataset yet, and OSError where it
    cannot be read, or a later run replaces it meanwhile.
    """

    output: str  # the folder, absolute, or its URI in an object store
    run: str  # the name that the run has in run.json and in the report
    # as of the command line: 0 all is done, 3 some media are dead letters
    exit_code: int
    summary: dict[str, Any] = dataclasses.field(repr=False)  # summary.json; empty where the run was not waited for
    stores: Stores = dataclasses.field(repr=False)  # how the output is reached

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end; False where `no_wait` left it to its cluster."""
        return bool(self.summary)

    def transcripts(self, columns: Sequence[str] | None = None) -> Iterator[TranscriptRow]:
        """One row per recording."""
        from transforms.dataset.schema import TRANSCRIPTS

        return cast("Iterator[TranscriptRow]", self._rows("transcripts", TRANSCRIPTS, columns))

    def segments(self, columns: Sequence[str] | None = None) -> Iterator[SegmentRow]:
        """One row per timed piece of text."""
        from transforms.dataset.schema import SEGMENTS

        return cast("Iterator[SegmentRow]", self._rows("segments", SEGMENTS, columns))

    def dead_letters(self, columns: Sequence[str] | None = None) -> Iterator[DeadLetterRow]:
        """One row per recording that could not be done."""
        from transforms.dataset.schema import DEAD_LETTERS

        return cast("Iterator[DeadLetterRow]", self._rows("dead_letters", DEAD_LETTERS, columns))

    def _rows(self, table: str, schema: pa.Schema, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        from beam_pipeline.outputs.dataset import rows  # with pyarrow, which importing the package does not need

        for name in columns or ():
            if name not in schema.names:
                near = difflib.get_close_matches(name, schema.names, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise UsageError(f"{table} has no column {name}{hint}")
        return rows(self.stores.serving(self.output), self.output, table, columns or schema.names)

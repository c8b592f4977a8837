"""Files under the output before a run begins, and whether the run may leave them in place."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from beam_pipeline.run.job import Job
from transforms.inputs.identity import named
from transforms.inputs.listing import list_inputs
from transforms.records import MediaFile
from transforms.storage import join
from transforms.work.own_files import OutputContents, inspect_output
from transforms.work.store import file_of

SHOWN = 5  # names in a message


def find(job: Job) -> OutputContents:
    """The contents of the output, if no file that was not written by a run is in the way.

    Raises:
        ValueError: it would have to write over it, or remove it.
        OSError: the output cannot be read.
    """
    found, in_the_way = _look(job)
    # another run may be writing: what it wrote meanwhile it had noted before, and is not there again
    if in_the_way:
        found, still = _look(job)
        in_the_way = [name for name in in_the_way if name in set(still)]
    if in_the_way:
        more = f" and {len(in_the_way) - SHOWN} more" if len(in_the_way) > SHOWN else ""
        raise ValueError(
            f"--output {job.output}: this run would replace files that no run wrote there: "
            f"{', '.join(in_the_way[:SHOWN])}{more}. Take another --output, or move them away"
        )
    return found


def _look(job: Job) -> tuple[OutputContents, list[str]]:
    found = inspect_output(job.work, kinds(job))
    return found, [*_in_the_way(job, found), *found.foreign]


def kinds(job: Job) -> tuple[str, ...]:
    """What the files of media end with in this job."""
    return job.save.kinds(job.work.translation_language)


def _in_the_way(job: Job, found: OutputContents) -> list[str]:
    """The foreign files that lie where a recording of the input would have its own.

    Names depend on one another, so all are found: only where there are foreign files below media/, which is rare.
    """
    if not found.foreign_media:
        return []
    foreign = {_folded(name): name for name in found.foreign_media}
    taken = set[str]()
    for media in named(_listed(job), job.work):
        for file in _files(job, media.name) if isinstance(media, MediaFile) else ():
            known = foreign.get(_folded(file))
            if known == file or (known and job.work.store.stat(join(job.output, file))):
                taken.add(known)
    return sorted(taken)


def _listed(job: Job) -> Iterator[MediaFile]:
    return (media for media in list_inputs(b"", job.inputs) if isinstance(media, MediaFile))


def _files(job: Job, name: str) -> Iterator[str]:
    media = MediaFile("", "", "", "", name=name)
    return (file_of(media, kind) for kind in kinds(job))


def _folded(name: str) -> str:
    """Equal for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", name.casefold())

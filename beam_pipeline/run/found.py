"""What lies under the output before a run begins, and whether it may stay where it is."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from beam_pipeline.run.job import Job
from transforms.inputs.identity import named
from transforms.inputs.listing import list_inputs
from transforms.records import MediaFile
from transforms.storage import join
from transforms.work.layers import file_of
from transforms.work.own_files import Found, look

SHOWN = 5  # names in a message


def find(job: Job) -> Found:
    """What lies under the output, when a run can leave alone all that no run wrote.

    Raises:
        ValueError: it would have to write over it, or remove it.
        OSError: the output cannot be read.
    """
    found, in_the_way = _look(job)
    if in_the_way:  # another run may be writing: what it wrote meanwhile it had noted before, and is not there again
        found, still = _look(job)
        in_the_way = [name for name in in_the_way if name in set(still)]
    if in_the_way:
        more = f" and {len(in_the_way) - SHOWN} more" if len(in_the_way) > SHOWN else ""
        raise ValueError(
            f"--output {job.output}: this run would replace files that no run wrote there: "
            f"{', '.join(in_the_way[:SHOWN])}{more}. Take another --output, or move them away"
        )
    return found


def _look(job: Job) -> tuple[Found, list[str]]:
    found = look(job.layers, kinds(job))
    return found, [*_in_the_way(job, found), *found.foreign]


def kinds(job: Job) -> tuple[str, ...]:
    """What the files of media end with in this job."""
    return job.save.kinds(job.layers.translation_language)


def _in_the_way(job: Job, found: Found) -> list[str]:
    """The foreign files that lie where a media of the input would have its own.

    Names depend on one another, so all are found: only where there are foreign files below media/, which is rare.
    """
    if not found.foreign_media:
        return []
    foreign = {_folded(name): name for name in found.foreign_media}
    taken = set[str]()
    for media in named(_listed(job), job.layers):
        for file in _files(job, media.name) if isinstance(media, MediaFile) else ():
            known = foreign.get(_folded(file))
            if known == file or (known and job.layers.store.stat(join(job.output, file))):
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

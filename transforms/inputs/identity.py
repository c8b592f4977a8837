"""Removes duplicate recordings, and gives each a unique id and a unique name."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from transforms.inputs.listing import Found
from transforms.inputs.names import collision_key, file_name, octets, tail_of, with_folders, with_tail
from transforms.records import DeadLetter, MediaFile
from transforms.work.store import WorkStore

Group = tuple[str, Iterable[Found]]


def keyed(found: Found, key: Callable[[Found], str]) -> tuple[str, Found]:
    return key(found), found


def _media_of(found: Found) -> MediaFile:
    return found.media if isinstance(found, DeadLetter) else found


def by_media(found: Found) -> str:
    return _media_of(found).media_id


def by_id(found: Found) -> str:
    return _hashed(_media_of(found).id)


def by_name(found: Found) -> str:
    """The same for media whose files could get in each other's way."""
    return _hashed(collision_key(_plain_name(found)))


def deduplicate(group: Group, work: WorkStore | None = None) -> Iterator[Found]:
    """One of the same media: one that is there, then one whose language a manifest gives, then the first by id.

    One that is kept from an earlier run stands behind all that were listed.
    """
    yield min(group[1], key=_preference)


def _preference(found: Found) -> tuple[bool, bool, bool, str]:
    if isinstance(found, DeadLetter):
        return True, True, True, repr(found)
    return False, found.kept, not found.language, repr(found)


def disambiguate_ids(group: Group, work: WorkStore | None = None) -> Iterator[Found]:
    """Media of several inputs that have one id, each with as many of its folders before it as tell it apart.

    One that an earlier run saved under the id keeps it: whatever else comes to the input renames nothing.
    """
    members = list(group[1])
    if len(members) == 1:
        yield members[0]
        return
    first = _first_there(members, work)
    longer = with_folders(_media_of(members[0]).id, [_media_of(each).uri for each in members])
    for member in members:
        yield member if member is first else _renamed(member, longer[_media_of(member).uri])


def assign_names(group: Group, work: WorkStore | None = None) -> Iterator[Found]:
    """Name each recording's files after it, with a part of its media_id where it is not alone.

    One that an earlier run saved under its plain name keeps that. What still has the id of another gets the same part
    into its id.
    """
    members = sorted(group[1], key=lambda each: by_media(each))
    there = [member for member in members if isinstance(member, MediaFile)]
    first = there[0] if len(there) == 1 else _first_there(there, work)
    ids, all_ids = Counter(_media_of(each).id for each in members), [by_media(each) for each in members]
    for member in members:
        media = _media_of(member)
        tail = "" if member is first else tail_of(media.media_id, all_ids)
        result = _renamed(member, with_tail(media.id, tail)) if ids[media.id] > 1 else member
        yield result if isinstance(result, DeadLetter) else result._replace(name=_plain_name(member) + tail)


def _first_there(members: Sequence[Found], work: WorkStore | None) -> Found | None:
    """Of several, the one whose files lie under its plain name since an earlier run."""
    if work is None or len(members) < 2:
        return None
    there = (each for each in sorted(members, key=by_media) if by_media(each) in work.saved_by(_plain_name(each)))
    return next(there, None)


def _plain_name(found: Found) -> str:
    return file_name(_media_of(found).id)


def _renamed(found: Found, media: str) -> Found:
    if isinstance(found, DeadLetter):
        return found._replace(media=found.media._replace(id=media))
    return found._replace(id=media)


def _hashed(text: str) -> str:
    """A key for grouping: keys are bytes that every runner has to agree on, and an id may be no UTF-8."""
    return hashlib.sha256(octets(text)).hexdigest()


class Step(NamedTuple):
    """A grouping of recordings by a key, and what is done with each group."""

    what: str
    key: Callable[[Found], str]
    settle: Callable[[Group, WorkStore | None], Iterator[Found]]


SETTLED = (
    Step("Media", by_media, deduplicate),
    Step("Id", by_id, disambiguate_ids),
    Step("Name", by_name, assign_names),
)


def named(found: Iterable[Found], work: WorkStore | None = None) -> Iterator[Found]:
    """The media as the step gives them, each once and with its name: what `expand` does, for a listing in memory."""
    for _, key, settle in SETTLED:
        groups: dict[str, list[Found]] = defaultdict(list)
        for each in found:
            groups[key(each)].append(each)
        found = [each for group in groups.items() for each in settle(group, work)]
    yield from found

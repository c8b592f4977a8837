"""The names of a recording's files: valid and unambiguous on every store and file system.

A name is a path below `media/` in the output, whatever the id holds that it is made of: a bucket that strangers write
to and a manifest from elsewhere decide about ids.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from transforms.media.suffixes import MEDIA, suffix_of

# of a folder or file name; file systems take 255, and suffixes follow
NAME_BYTES = 150
# of a name with its folders; object stores take 1024 with those of the output
WHOLE_BYTES = 700
FOLDER = "media"  # below the output: where all files are that have names
# Controls, what Windows takes for syntax, ends of lines, and what turns the direction of writing.
UNSAFE = re.compile('[\x00-\x1f\x7f-\x9f<>:"|?*\\\\\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]')
# surrogates that stand for no byte of a name that is no UTF-8
LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(\.|$)", re.IGNORECASE)
OURS = re.compile(r"\.(json|srt|vtt|txt|opus)\.*$", re.IGNORECASE)  # what a recording's files end with
# a part that some system takes for the folder itself or the one above
NOWHERE = re.compile(r"[.\s]*")
# What a file's name may have more than its recording's: the language of a translation, the tail of one that is not
# alone.
ADDED = re.compile(r"((\.[a-z]{2,3})?~[0-9a-f]{8}([0-9a-f]{24})?)?(\.[a-z]{2,3})?$")


def file_name(media: str) -> str:
    """The id without its media suffix, safe to write: relative, no control characters, no part too long."""
    parts = [part for part in media.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if parts and suffix_of(parts[-1]) in MEDIA:
        parts[-1] = parts[-1].rpartition(".")[0]
    folders = [OURS.sub(r"\g<0>_", folder) for folder in map(_safe, parts[:-1]) if folder]
    name = "/".join([*folders, *map(_safe, parts[-1:])]).removesuffix("/") or "media"
    if len(name.encode()) > WHOLE_BYTES:
        return f"{hashlib.sha256(name.encode()).hexdigest()[:16]}/{name.rpartition('/')[2]}"
    return name


def _safe(part: str) -> str:
    """A part of a name; nothing of one that leads elsewhere."""
    known = LONE.sub("_", part).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    clean = UNSAFE.sub("_", known).strip()
    if NOWHERE.fullmatch(clean):
        return "" if clean else "_"
    if DEVICES.match(clean):
        clean = f"_{clean}"
    encoded = clean.encode()
    if len(encoded) > NAME_BYTES:
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        clean = f"{encoded[:NAME_BYTES].decode('utf-8', 'ignore')}~{digest}"
    return clean


def octets(text: str) -> bytes:
    """The bytes of a name: those that it had where it is no UTF-8, and some for whatever else a manifest gives."""
    return LONE.sub(lambda found: ascii(found[0]), text).encode("utf-8", "surrogateescape")


def is_below(file: str) -> bool:
    """Whether this names a file below the folder of the recording's files, whichever store and system read it."""
    folder, *parts = file.split("/")
    leads_elsewhere = any(map(NOWHERE.fullmatch, parts)) or re.search(r"[\0\\]", file)
    return bool(folder == FOLDER and parts and not leads_elsewhere)


def collision_key(name: str) -> str:
    """The same for all names whose files could get in each other's way.

    `a.mp4` and `a.mp3` would both write `a.srt`; `a.en.mp4` would write the `a.en.srt` that holds a's translation; a
    file may have for its name what another gets that is not alone; and some file systems tell neither case nor
    Unicode's normal forms nor dots at a folder's end apart.
    """
    *folders, last = unicodedata.normalize("NFD", name.casefold()).split("/")
    cut = last if len(last.encode()) > NAME_BYTES else ADDED.sub("", last)
    alike = "/".join([*(folder.rstrip(". ") for folder in folders), cut])
    return unicodedata.normalize("NFD", alike.casefold())


def tail_of(media_id: str, all_ids: Iterable[str]) -> str:
    """What is added to a name that is not unique: a part of the media_id that no other begins with."""
    size = 8 if sum(each[:8] == media_id[:8] for each in all_ids) <= 1 else 32
    return f"~{media_id[:size]}"


def with_tail(media: str, tail: str) -> str:
    """The id with the tail, in front of its suffix where it has that of a recording."""
    suffix = suffix_of(media)
    place = len(media) - len(suffix) if suffix in MEDIA else len(media)
    return f"{media[:place]}{tail}{media[place:]}"


def with_folders(media: str, uris: Iterable[str]) -> dict[str, str]:
    """Of media that have one id: the id of each by its URI, with as many of its folders in front as tell it apart."""
    above = {uri: _folders_above(uri, media) for uri in uris}
    known = Counter(folders[at:] for folders in above.values() for at in range(len(folders)))
    return {uri: "/".join([*_shortest(folders, known), media]) for uri, folders in above.items()}


def _folders_above(uri: str, media: str) -> tuple[str, ...]:
    """The folders of the URI in front of the id; none where it does not end with it."""
    _, scheme, path = uri.rpartition("://")
    if not path.endswith(f"/{media}"):
        return ()
    first, *others = path.removesuffix(f"/{media}").strip("/").split("/")
    return (first.rpartition("@")[2] if scheme else first, *others)


def _shortest(folders: tuple[str, ...], known: Counter[tuple[str, ...]]) -> tuple[str, ...]:
    """The fewest of the last folders that are there once."""
    return next((folders[at:] for at in reversed(range(len(folders))) if known[folders[at:]] == 1), ())

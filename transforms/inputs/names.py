"""What a media's files are called: names that no store and no file system takes for anything else."""

from __future__ import annotations

import hashlib
import re

from transforms.media.suffixes import MEDIA, suffix_of

NAME_BYTES = 150  # of a folder or file name; file systems take 255, and suffixes follow


def file_name(media: str) -> str:
    """The id without its media suffix, safe to write: relative, no control characters, no part too long."""
    parts = [part for part in media.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if parts and suffix_of(parts[-1]) in MEDIA:
        parts[-1] = parts[-1].rpartition(".")[0]
    return "/".join(map(_safe, parts)) or "media"


def _safe(part: str) -> str:
    clean = re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", part).strip()
    clean = clean.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\\", "_")
    encoded = clean.encode()
    if len(encoded) > NAME_BYTES:
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        clean = f"{encoded[:NAME_BYTES].decode('utf-8', 'ignore')}~{digest}"
    return clean or "_"

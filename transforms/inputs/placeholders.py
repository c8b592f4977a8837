"""Files that stand for a recording whose content was never fetched, and links that lead to nothing."""

from __future__ import annotations

import re

from transforms.dead_letters import MediaError

# of a pointer; those of git-annex may have a line more than one
LARGEST_BYTES = 1024
ICLOUD = re.compile(r"(^|/)\.([^/]+)\.icloud$")  # .talk.mp3.icloud stands for talk.mp3


def placeholder_error(uri: str, content: bytes) -> MediaError | None:
    """What the file is, if it is a pointer to content that is elsewhere."""
    if content.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"^size (\d{1,18})$", content, re.MULTILINE)
        of = f" to {int(size[1])} bytes" if size else ""
        return MediaError("not_fetched", f"a pointer{of} of Git LFS: run `git lfs pull` in its folder")
    if content.startswith(b"/annex/objects/"):
        return MediaError("not_fetched", "a pointer of git-annex: run `git annex get` in its folder")
    if ICLOUD.search(uri):
        return MediaError("not_fetched", "a placeholder of iCloud Drive: download it in Finder")
    return None


def broken_link_error(target: str) -> MediaError:
    """What a link is that leads to no file."""
    if ".git/annex/objects/" in target:
        return MediaError("not_fetched", "a link of git-annex: run `git annex get` in its folder")
    return MediaError("broken_link", f"it leads to {target}")

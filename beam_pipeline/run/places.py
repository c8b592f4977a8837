"""Where a run reads and writes. Imports nothing heavy: a path that is mistyped is told of at once."""

from __future__ import annotations

import argparse
import re

from transforms.inputs.folders import Skipped, Tally
from transforms.inputs.listing import Inputs, list_inputs
from transforms.records import DeadLetter
from transforms.storage import StorageError, Stores
from transforms.storage.profiles import read_profiles

SHOWN = 3  # dead letters in a message


def first_look(flags: argparse.Namespace) -> None:
    """Find what is wrong with the places before Beam and torch are loaded.

    Raises:
        ValueError: with what to do about it.
    """
    stores = stores_of(flags)
    check_places(flags, stores)
    if not (flags.dry_run or flags.keep_missing):  # which have something to tell, or to do, of no media too
        check_input(Inputs(tuple(flags.input), stores, suffixes=suffixes_of(flags)))


def stores_of(flags: argparse.Namespace) -> Stores:
    """The stores, with what the config file and the environment say of them."""
    return Stores(read_profiles(flags.stores))


def check_places(flags: argparse.Namespace, stores: Stores) -> str:
    """The canonical output, when every place is one that a store serves.

    Raises:
        ValueError: with what to do about it.
    """
    for name, places in (("input", flags.input), ("output", [flags.output])):
        if not all(place.removeprefix("file://").strip() for place in places):
            raise ValueError(f"--{name} is empty: is a variable not set? Write . for the current folder")
    try:
        for place in [*flags.input, flags.output]:
            stores.serving(place)
    except StorageError as error:
        raise ValueError(str(error)) from error
    store = stores.serving(flags.output)
    if not hasattr(store, "put"):
        raise ValueError(f"--output {flags.output}: media can be read from there, and nothing written")
    return store.canonical(flags.output)


def suffixes_of(flags: argparse.Namespace) -> tuple[str, ...]:
    """--suffixes as `suffix_of` gives them; "" for names without one."""
    for suffix in flags.suffixes:
        if not re.fullmatch(r"\.?[^./\\\s]*", suffix) or not suffix:
            raise ValueError(
                f"--suffixes {suffix!r}: write the end of a name, such as .xyz, or . for names without one"
            )
    return tuple(sorted({f".{suffix.lstrip('.').lower()}".removesuffix(".") for suffix in flags.suffixes}))


def check_input(inputs: Inputs) -> None:
    """Look for one recording.

    Raises:
        ValueError: there is none; says why not.
    """
    tally, reasons = Tally(), list[str]()
    for found in list_inputs(b"", inputs):
        if isinstance(found, Skipped):
            tally.add(found)
        elif not isinstance(found, DeadLetter):
            return
        elif len(reasons) < SHOWN:
            reasons.append(f"{found.media.id}: {found.message}")
    passed_over = f" Passed over: {tally.words()}" if tally.words() else ""
    raise ValueError(f"no media found. {'; '.join(reasons)}{passed_over}")

"""The tables of docs/scaling.md, worked out from what was measured and what is assumed.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --hours 50000 --media_s 1800 --gpu_s 0.05 --gpu_price 3.5

Every figure is one line of `need`. Nothing is measured here.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator

HOURS, MEDIA_S = (1e3, 1e6, 1e8), (600, 5)


@dataclasses.dataclass(frozen=True)
class Measured:
    """On two cores of an AMD EPYC: benchmarks/driver.md, where no other page is named. `cpu`: of one core."""

    decode_each_s: float = 0.07  # cpu: a recording's decoder starts and ends
    # hours of audio an hour, once it runs; ffmpeg and voice activity together
    decode_x: float = 360
    # cpu: listed, named, planned and shuffled by Beam, without the client of the store
    plan_us: float = 180.0
    key_us: float = 50.0  # cpu, in boto3: a key in an answer to LIST
    request_us: float = 2700.0  # cpu, in boto3: a GET or a PUT
    inventory_bytes: float = 412.0  # a recording that is done, in each process
    shuffled_bytes: float = 1900.0  # a recording, on the direct runner, inventory included
    process_gb: float = 1.3  # benchmarks/many_media.md, with the demo model
    # a recording: one in the asr layer, four files, a note before them and one behind
    puts: float = 7.0
    gets: float = 1.0  # a recording, for the dataset
    # a recording, before it is decoded: was it committed meanwhile? Priced as a GET
    heads: float = 1.0


@dataclasses.dataclass(frozen=True)
class Assumed:
    """Not measured: put in your own."""

    gpu_s: float = 0.3  # a window: large-v3, 30 s at 100 × real time
    window_s: float = 25.0  # of speech in a window of at most 30 s
    speech: float = 0.8  # of the audio
    gpu_price: float = 2.0  # dollars an hour
    days: float = 7.0  # in which it is to end
    list_s: float = 0.1  # until LIST has answered with 1,000 keys
    put_price: float = 5e-6  # dollars; LIST costs the same
    get_price: float = 4e-7
    gb_price: float = 0.023  # dollars a month
    shard_media: float = 250_000  # in one shard of the dataset


@dataclasses.dataclass(frozen=True)
class Kind:
    """What depends on the length of a recording."""

    media_gets: float  # to decode it: benchmarks/reading.md
    stored_bytes: float  # of its layers and files
    # cpu: commit, render and save, without the client of the store
    save_us: float
    write_us: float  # cpu: its rows of the dataset, the same


KINDS = {600: Kind(5, 86_100, 13_400, 1_850), 5: Kind(2, 2_700, 500, 190)}


def need(hours: float, media_s: float, was: Measured, may: Assumed) -> dict[str, float]:
    """What so many hours in media of that length need."""
    kind = KINDS[min(KINDS, key=lambda known: abs(known - media_s))]
    media = hours * 3600 / media_s
    windows = media * max(1.0, media_s * may.speech / may.window_s)
    gpu_h = windows * may.gpu_s / 3600
    gpus = max(1.0, gpu_h / may.days / 24)  # a process each
    decode_h = media * (was.decode_each_s + media_s / was.decode_x) / 3600
    puts, gets = media * was.puts, media * (was.gets + was.heads + kind.media_gets)
    pages = media / 1000
    pages_h = pages * (may.list_s + was.key_us / 1000) / 3600
    shard = min(media, may.shard_media)
    return {
        "media": media,
        "windows": windows,
        "GPU hours": gpu_h,
        "GPUs, $": gpu_h * may.gpu_price,
        f"GPUs to end in {may.days:g} days": gpus,
        "decoding, core hours": decode_h,
        "decoding, cores beside each GPU": decode_h / gpu_h,
        "memory of all processes, GB, without a model": gpus * was.process_gb,
        "PUT": puts,
        "GET": gets,
        "LIST, first run": pages,
        "LIST, going on when half is done": pages * (1 + gpus),
        "requests, first run, $": (puts + pages) * may.put_price + gets * may.get_price,
        "stored, GB": media * kind.stored_bytes / 1e9,
        "stored, $ a month": media * kind.stored_bytes / 1e9 * may.gb_price,
        "listing the input, hours, one process": pages_h,
        "planning and shuffling, core hours": media * was.plan_us / 3.6e9,
        "going on: listing half, hours, each process": pages_h,
        "going on: inventory of half, GB, each process": media / 2 * was.inventory_bytes / 1e9,
        "held by the direct runner, GB": media * was.shuffled_bytes / 1e9,
        "saving, core hours": media * (kind.save_us + was.puts * was.request_us) / 3.6e9,
        "dataset as one shard, hours, one process": media * (kind.write_us + was.gets * was.request_us) / 3.6e9,
        f"shards of {may.shard_media:,.0f} media": math.ceil(media / shard),
        "one of these, hours, one process": shard * (kind.write_us + was.gets * was.request_us) / 3.6e9,
    }


def shown(value: float) -> str:
    """Three digits at most, with k, M or G."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * unit:
            return f"{value / unit:.3g} {name}" if value < 999.5 * unit else f"{value / unit:,.0f} {name}"
    return f"{value:.2g}" if value < 1 else f"{value:.3g}"


def table(hours: tuple[float, ...], lengths: tuple[float, ...], was: Measured, may: Assumed) -> Iterator[str]:
    columns = [need(each, length, was, may) for each in hours for length in lengths]
    heads = [f"{shown(each)} h" for each in hours for _ in lengths]
    yield f"{'':48}" + "".join(f"{head:>9}" for head in heads)
    kinds = [f"{length / 60:g} min" if length >= 60 else f"{length:g} s" for _ in hours for length in lengths]
    yield f"{'in media of':48}" + "".join(f"{kind:>9}" for kind in kinds)
    for name in columns[0]:
        yield f"{name:48}" + "".join(f"{shown(column[name]):>9}" for column in columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=HOURS)
    parser.add_argument("--media_s", type=float, nargs="+", default=MEDIA_S, help="length of a recording")
    for known in (Measured, Assumed):
        for field in dataclasses.fields(known):
            parser.add_argument(f"--{field.name}", type=float, default=field.default)
    flags = vars(parser.parse_args())
    was, may = (
        kind(**{field.name: flags[field.name] for field in dataclasses.fields(kind)}) for kind in (Measured, Assumed)
    )
    print(*table(tuple(flags["hours"]), tuple(flags["media_s"]), was, may), sep="\n")


if __name__ == "__main__":
    main()

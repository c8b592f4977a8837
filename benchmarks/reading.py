"""How fast media are read from an object store, against boto3's own get_object on the same server, and by how many
requests.

    python benchmarks/reading.py

Needs Ceph (see tests/s3.py). 200 MB are read each way in turn, alone and into a decoder; media are read as the job
decodes them; and one whole job's requests are counted by a proxy. Results stand in reading.md.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable
from typing import Any

from tests.proxy import FaultProxy
from tests.s3 import S3Server, running_ceph
from transforms.decode_audio import DecodeConfig, decode
from transforms.media.chunks import ChunkConfig
from transforms.media.ffmpeg_command import find_ffmpeg, network_options
from transforms.records import MediaChunk, MediaFile
from transforms.storage import Entry, Store, Stores

MEGABYTES, TIMES, JOB_MEDIA = 200, 5, 40
SAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "media" / "village.opus"


def plain(client: Any, bucket: str, key: str) -> int:
    """Read the object with boto3 alone, as one stream."""
    return sum(len(piece) for piece in client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20))


def ours(store: Store, entry: Entry) -> int:
    """Read the object through the address that the store opens for a decoder, here by Python's own client."""
    size = 0
    with store.open_media(entry) as source, urllib.request.urlopen(source.url) as answer:
        while piece := answer.read(1 << 20):
            size += len(piece)
    return size


def decoded(*source: str, pieces: Iterable[bytes] = ()) -> None:
    """Decode as the job does, from an address or from what is put into ffmpeg's pipe."""
    command = [find_ffmpeg(), "-v", "error", *source, "-ac", "1", "-ar", "16000", "-f", "s16le", "pipe:1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as decoder:
        assert decoder.stdin is not None
        assert decoder.stdout is not None
        sound = threading.Thread(target=lambda out: all(iter(lambda: out.read(1 << 16), b"")), args=(decoder.stdout,))
        sound.start()
        for piece in pieces:
            decoder.stdin.write(piece)
        decoder.stdin.close()
        sound.join()
    assert decoder.returncode == 0


def plain_decoded(client: Any, bucket: str, key: str) -> int:
    found = client.get_object(Bucket=bucket, Key=key)
    decoded("-i", "pipe:0", pieces=found["Body"].iter_chunks(1 << 20))
    return found["ContentLength"]


def ours_decoded(store: Store, entry: Entry) -> int:
    with store.open_media(entry) as source:
        options = network_options(source.url).items()
        decoded(*(word for name, value in options for word in (f"-{name}", str(value))), "-i", source.url)
        assert source.error is None
    return entry.size_bytes


def rate(work: Any, *arguments: Any) -> float:
    """MB a second."""
    started = time.monotonic()
    return work(*arguments) / 1e6 / (time.monotonic() - started)


def counted(store: Any, entry: Entry) -> dict[str, float]:
    """Requests and bytes that decoding the recording takes."""
    asked: list[int] = []
    kind, real = type(store), type(store).read_range

    def read_range(self: Any, uri: str, start: int, size: int, version: str) -> bytes:
        asked.append(size)
        return real(self, uri, start, size, version)

    kind.read_range = read_range
    try:
        media = MediaFile("m", entry.uri, entry.uri, entry.version, entry.size_bytes)
        *_, last = decode(MediaChunk(media), DecodeConfig(chunks=ChunkConfig(stores=Stores((store.profile,)))))
    finally:
        kind.read_range = real
    assert last.audio is not None
    return {"requests": len(asked), "share": sum(asked) / entry.size_bytes, "mb": entry.size_bytes / 1e6}


def requests_of_a_job(server: S3Server, media: int) -> dict[str, float]:
    """The requests of a whole run for each of its media, input and output in the store, by method."""
    client, bucket = server.client(), server.new_bucket()
    for number in range(media):
        client.upload_file(str(SAMPLE), bucket, f"in/{number}.opus")
    base = f"s3://{server.name}@{bucket}"
    words = ["--input", f"{base}/in", "--output", f"{base}/out", "--model", "demo"]
    with FaultProxy(server.endpoint) as proxy:
        environment = {**os.environ, **server.environment, server.profile.variable("ENDPOINT"): proxy.url}
        subprocess.run(
            [sys.executable, "-m", "beam_pipeline", *words], env=environment, check=True, capture_output=True
        )
        methods = {method for method, _ in proxy.asked}
        return {
            method: sum(count for (other, _), count in proxy.asked.items() if other == method) / media
            for method in sorted(methods)
        }


def make_media(folder: pathlib.Path) -> None:
    sound = ["-f", "lavfi", "-i", "anoisesrc=d=300:r=48000:a=0.1"]
    picture = ["-f", "lavfi", "-i", "testsrc2=s=1280x720:d=60:r=25,noise=alls=40"]
    make = [find_ffmpeg(), "-v", "error", "-y"]
    (folder / "long.bin").write_bytes(os.urandom(MEGABYTES << 20))
    long = ["-f", "lavfi", "-i", "anoisesrc=d=1000:r=48000:a=0.1", "-ac", "2"]
    subprocess.run([*make, *long, str(folder / "long.wav")], check=True)
    subprocess.run([*make, *sound, "-b:a", "128k", str(folder / "audio.mp3")], check=True)
    video = ["-t", "60", "-c:v", "mpeg4", "-b:v", "6M", "-c:a", "aac", "-b:a", "96k"]
    subprocess.run([*make, *picture, *sound, *video, str(folder / "video.mp4")], check=True)
    subprocess.run([*make, "-i", str(folder / "video.mp4"), "-c", "copy", str(folder / "video.mkv")], check=True)


def measure(server: S3Server, folder: pathlib.Path) -> None:
    os.environ.update(server.environment)
    bucket, client = server.new_bucket(), server.client()
    store = Stores((server.profile,)).serving(f"s3://{server.name}@{bucket}")
    for how, name, theirs, mine in (
        ("alone", "long.bin", plain, ours),
        ("into ffmpeg", "long.wav", plain_decoded, ours_decoded),
    ):
        client.upload_file(str(folder / name), bucket, name)
        entry = store.stat(f"s3://{server.name}@{bucket}/{name}")
        assert entry is not None
        pairs = [(rate(theirs, client, bucket, name), rate(mine, store, entry)) for _ in range(TIMES)]
        one, other = (statistics.median(each) for each in zip(*pairs, strict=True))
        print(f"{how:12} boto3 {one:5.0f} MB/s, ours {other:5.0f} MB/s: {other / one:.2f}", flush=True)
        (folder / name).unlink()
    for path in sorted(folder.iterdir()):
        client.upload_file(str(path), bucket, path.name)
        entry = store.stat(f"s3://{server.name}@{bucket}/{path.name}")
        assert entry is not None
        row = counted(store, entry)
        print(
            f"{path.name:12} {row['mb']:6.1f} MB  {row['requests']:4.0f} requests  {row['share']:6.1%} of the bytes"
        )
    each = ", ".join(f"{count:.1f} {method}" for method, count in requests_of_a_job(server, JOB_MEDIA).items())
    print(f"a job of {JOB_MEDIA} media of {SAMPLE.stat().st_size / 1000:.0f} kB: requests per recording: {each}")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        (media := pathlib.Path(name, "media")).mkdir()
        (home := pathlib.Path(name, "ceph")).mkdir()
        make_media(media)
        with running_ceph(home) as server:
            measure(server, media)


if __name__ == "__main__":
    main()

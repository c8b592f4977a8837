"""Make the sample media in `examples/media/` from `script.json`: what is said, in which voice, in which file.

The speech is espeak-ng's, in voices and sentences that the demo model was never trained on. Beside the media
it writes `truth.json`: the words of each utterance and where it starts and ends, in seconds. Needs espeak-ng and
ffmpeg on PATH; the same versions give the same bytes.

    python examples/make_media.py
"""

from __future__ import annotations

import json
import pathlib
import random
import subprocess
import wave
from typing import Any

import numpy as np

MEDIA = pathlib.Path(__file__).parent / "media"
RATE_HZ = 22_050  # what espeak-ng speaks at
PAUSE_S = (0.35, 1.1)  # between two utterances
LEAD_S = 0.5  # silence before the first and after the last
CODECS = {
    ".mp4": ["-c:v", "libx264", "-crf", "32", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k"],
    ".mkv": ["-c:a", "libvorbis", "-q:a", "3"],
    ".flac": ["-c:a", "flac", "-sample_fmt", "s16"],
    ".mp3": ["-c:a", "libmp3lame", "-b:a", "48k"],
    ".opus": ["-c:a", "libopus", "-b:a", "24k"],
    ".m4a": ["-c:a", "aac", "-b:a", "64k"],
}


def speak(text: str, voice: str) -> np.ndarray:
    """int16[n_samples] at 22 050 Hz: one utterance with the silence around it cut off."""
    command = ["espeak-ng", "-v", voice, "-s", "150", "--stdout", text]
    wav = subprocess.run(command, capture_output=True, check=True).stdout
    pcm = np.frombuffer(wav[44:], np.int16)
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 200)
    return pcm[loud[0] : loud[-1] + 1]


def lay_out(entry: dict[str, Any], rng: random.Random) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """One track of the entry's utterances with pauses between, and each utterance with its start and end (s)."""
    spoken = [speak(utterance["text"], utterance["voice"]) for utterance in entry["utterances"]]
    after = [*entry["utterances"][1:], {}]
    pauses = [following.get("pause_before", rng.uniform(*PAUSE_S)) for following in after]
    if "seconds" in entry:  # stretch the pauses to the length that the entry asks for
        left = entry["seconds"] - 2 * LEAD_S - sum(map(len, spoken)) / RATE_HZ
        pauses = [pause * left / sum(pauses) for pause in pauses]
    parts, truth, at = [np.zeros(int(LEAD_S * RATE_HZ), np.int16)], [], int(LEAD_S * RATE_HZ)
    for utterance, pcm, pause in zip(entry["utterances"], spoken, pauses, strict=True):
        times = {"start": round(at / RATE_HZ, 3), "end": round((at + len(pcm)) / RATE_HZ, 3)}
        truth.append({**utterance, **times})
        parts += [pcm, np.zeros(int(pause * RATE_HZ), np.int16)]
        at += len(pcm) + len(parts[-1])
    return np.concatenate([*parts, np.zeros(int(LEAD_S * RATE_HZ), np.int16)]), truth


def encode(pcm: np.ndarray, target: pathlib.Path, language: str, video: bool) -> None:
    """Write one media file, with a plain picture for video."""
    wav = target.with_suffix(".tmp.wav")
    with wave.open(str(wav), "wb") as out:
        out.setparams((1, 2, RATE_HZ, len(pcm), "NONE", ""))
        out.writeframes(pcm.tobytes())
    picture = ["-f", "lavfi", "-i", "gradients=s=640x360:r=10:seed=7:speed=0.01"] if video else []
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(wav), *picture, "-shortest"]
    command += ["-metadata:s:a:0", f"language={language}", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    subprocess.run([*command, *CODECS[target.suffix], str(target)], check=True)
    wav.unlink()


def main() -> None:
    script = json.loads((MEDIA / "script.json").read_text())
    truth = {}
    for name, entry in script.items():
        pcm, utterances = lay_out(entry, random.Random(name))
        language = {"hi": "hin", "en": "eng"}[utterances[0]["language"]]
        encode(pcm, MEDIA / name, language, entry.get("video", False))
        truth[name] = {"duration": round(len(pcm) / RATE_HZ, 3), "utterances": utterances}
    (MEDIA / "truth.json").write_text(json.dumps(truth, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()

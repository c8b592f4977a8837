"""Check that the packed model writes the same text in CTranslate2: `python compare_ctranslate2.py`.

Converts the model, decodes held-out utterances greedily in both libraries, with and without
timestamps, and exits with an error if a text differs.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import ctranslate2
import torch
from evaluate import Bench, Case, Model
from speech import SAMPLE_RATE_HZ, WORK

TASKS = (("hi", "transcribe"), ("hi", "translate"), ("en", "transcribe"))


def convert(folder: Path, converted: Path) -> None:
    """Write the model in CTranslate2's format, float32."""
    command = ["ct2-transformers-converter", "--model", str(folder), "--output_dir", str(converted)]
    subprocess.run([*command, "--force"], check=True)


def texts(
    model: Model, other: ctranslate2.models.Whisper, cases: list[Case], task: str, timed: bool
) -> list[tuple[str, str]]:
    """Return (transformers' text, CTranslate2's text) of each window, timestamps included."""
    tokenizer = model.processor.tokenizer
    sounds = [case.samples for case in cases]
    mels = model.processor(sounds, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
    language = cases[0].language
    rows = model.whisper.generate(mels, language=language, task=task, return_timestamps=timed)
    prompt = ["<|startoftranscript|>", f"<|{language}|>", f"<|{task}|>"]
    prompt += [] if timed else ["<|notimestamps|>"]
    view = ctranslate2.StorageView.from_array(mels.numpy())
    results = other.generate(view, [prompt] * len(cases), beam_size=1)
    special = set(tokenizer.all_special_ids)
    return [
        (
            tokenizer.decode([int(token) for token in row if int(token) not in special]),
            tokenizer.decode(result.sequences_ids[0]),
        )
        for row, result in zip(rows, results, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=WORK / "packed")
    parser.add_argument("--count", type=int, default=40, help="utterances of each language")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    model, singles = Model(arguments.folder), Bench().singles()
    same = total = 0
    with tempfile.TemporaryDirectory() as converted:
        convert(arguments.folder, Path(converted))
        other = ctranslate2.models.Whisper(converted, compute_type="float32")
        for language, task in TASKS:
            cases = [case for case in singles if case.language == language][: arguments.count]
            for timed in (True, False):
                for ours, theirs in texts(model, other, cases, task, timed):
                    total += 1
                    same += ours == theirs
                    if ours != theirs:
                        print(f"{language} {task}: transformers {ours!r}, CTranslate2 {theirs!r}")
    print(f"{same} of {total} texts are the same")
    raise SystemExit(same != total)


if __name__ == "__main__":
    main()

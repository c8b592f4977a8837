"""One result per window, in order, whatever goes wrong inside the model."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from transforms.engines import handler
from transforms.engines.catalog import ModelError
from transforms.engines.handler import SpeechHandler
from transforms.engines.verdict import Thresholds
from transforms.records import MediaChunk, MediaFile, Segment, SpeechWindow, WindowTranscription

MEDIA = MediaFile("m", "m", "/m", "v")


class FakeModel:
    """Hears each window's own bytes; fails on batches that hold a poisoned one, or that are too large for it."""

    def __init__(self, room: int = 1000) -> None:
        self.room, self.batches, self.released = room, list[int](), 0

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[WindowTranscription]:
        self.batches.append(len(windows))
        if len(windows) > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if any(window.pcm.startswith(b"poison") for window in windows):
            raise RuntimeError("device-side assert")
        return [WindowTranscription(texts={}, language=window.pcm.decode()) for window in windows]

    def release_memory(self) -> None:
        self.released += 1


class FakeEngine:
    loads = 0

    def key(self):
        return "fake"

    def load(self):
        FakeEngine.loads += 1
        return FakeModel()

    def batch_size(self):
        return 4


def window(pcm: str, number: int = 0) -> SpeechWindow:
    return SpeechWindow(MediaChunk(MEDIA), number, 0, pcm.encode())


def infer(windows, model=None):
    return list(SpeechHandler(FakeEngine()).run_inference(windows, model or FakeModel()))


def test_results_come_in_the_order_of_the_windows_and_without_their_audio():
    results = infer([window(f"w{i}", i) for i in range(7)])
    assert [result.transcription.language for result in results] == [f"w{i}" for i in range(7)]
    assert {result.window.pcm for result in results} == {b""}


def test_a_window_without_audio_passes_the_model_by():
    model = FakeModel()
    results = infer([window(""), window("a"), window("")], model)
    assert [result.transcription and result.transcription.language for result in results] == [None, "a", None]
    assert model.batches == [1]


@pytest.mark.parametrize("poisoned", [{0}, {3}, {6}, {0, 6}, {2, 3, 4}, set(range(7))])
def test_only_the_windows_that_fail_alone_carry_an_error(poisoned):
    results = infer([window("poison" if i in poisoned else f"w{i}", i) for i in range(7)])
    assert {i for i, result in enumerate(results) if result.transcription.error} == poisoned
    assert [result.transcription.language for i, result in enumerate(results) if i not in poisoned] == [
        f"w{i}" for i in range(7) if i not in poisoned
    ]


def test_out_of_memory_halves_the_batch_until_it_fits():
    model = FakeModel(room=2)
    results = infer([window(f"w{i}", i) for i in range(8)], model)
    assert [result.transcription.error for result in results] == [""] * 8
    assert model.batches == [8, 4, 2, 2, 2, 2]  # what fits is remembered
    assert model.released == 2


def test_a_model_that_returns_too_few_results_loses_none():
    class Forgetful(FakeModel):
        def transcribe(self, windows):
            return super().transcribe(windows)[: max(1, len(windows) - 1)]

    results = infer([window(f"w{i}", i) for i in range(5)], Forgetful())
    assert [result.transcription.language for result in results] == [f"w{i}" for i in range(5)]


class Broken(FakeModel):
    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def transcribe(self, windows):
        raise RuntimeError(self.message)


@pytest.mark.parametrize("said", ["CUDA error: an illegal memory access", "CUDA failed with error an illegal access"])
def test_a_broken_device_fails_the_run_and_not_every_recording_to_come(said):
    with pytest.raises(ModelError, match="the device fails, start the run again"):
        infer([window("a"), window("b")], Broken(said))


def test_a_model_that_never_worked_fails_the_run():
    hopeless, model = SpeechHandler(FakeEngine()), Broken("no such token")
    for _ in range(12):
        assert all(result.transcription.error for result in hopeless.run_inference([window("a")] * 4, model))
    with pytest.raises(ModelError, match="on each of the first 52 windows: RuntimeError: no such token"):
        hopeless.run_inference([window("a")] * 4, model)
    lucky = SpeechHandler(FakeEngine())
    lucky.run_inference([window("a")], FakeModel())
    for _ in range(20):
        lucky.run_inference([window("a")] * 4, model)


def test_the_model_is_loaded_once_a_process_whichever_thread_asks_first():
    handler._models.pop("fake", None)
    FakeEngine.loads = 0
    threads = [threading.Thread(target=SpeechHandler(FakeEngine()).load_model) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert FakeEngine.loads == 1
    handler._models.pop("fake")


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("figures", "kept"),
    [
        ({"avg_logprob": NAN}, (None, 0.5, 0.75)),
        ({"avg_logprob": -INF, "no_speech_prob": NAN}, (None, None, 0.75)),
        ({"language_probability": NAN}, (-0.25, 0.5, 0.0)),
    ],
)
def test_a_figure_that_is_no_number_is_left_out_and_said_to_be(figures, kept):
    class Overflowing(FakeModel):
        def transcribe(self, windows):
            heard = WindowTranscription({"transcribe": (Segment(0.0, 1.0, "a", "hi"),)}, "hi", 0.75, -0.25, 0.5)
            return [heard._replace(**(figures if window.pcm == b"bad" else {})) for window in windows]

    bad, good = [result.transcription for result in infer([window("bad"), window("good")], Overflowing())]
    assert (bad.avg_logprob, bad.no_speech_prob, bad.language_probability) == kept
    assert (bad.unmeasured, good.unmeasured) == (True, False)
    assert bad.texts == good.texts


def test_a_window_whose_times_are_no_numbers_fails_alone():
    class Timeless(FakeModel):
        def transcribe(self, windows):
            ends = {b"bad": NAN}
            return [
                WindowTranscription({"transcribe": (Segment(0.0, ends.get(each.pcm, 1.0), "a", "hi"),)}, "hi")
                for each in windows
            ]

    bad, good = [result.transcription for result in infer([window("bad"), window("good")], Timeless())]
    assert "a time that is no number" in bad.error
    assert not good.error


def test_each_window_is_judged_by_the_thresholds_alone_or_in_a_batch():
    class Looping(FakeModel):
        def transcribe(self, windows):
            said = {b"loop": "ka " * 448, b"unsure": "a b c", b"good": "a b c"}
            return [
                WindowTranscription(
                    {"transcribe": (Segment(0.0, 0.0, said[each.pcm], "hi"),)},
                    "hi",
                    1.0,
                    -1.5 if each.pcm == b"unsure" else -0.1,
                )
                for each in windows
            ]

    def codes(found):
        return [each.transcription.verdict and each.transcription.verdict.code for each in found]

    windows = [window("good"), window("loop"), window("unsure"), window("good")]
    assert codes(infer(windows, Looping())) == [None, "repetition", "low_confidence", None]
    assert codes(infer(windows[1:2], Looping())) == ["repetition"]
    lenient = SpeechHandler(FakeEngine(), Thresholds(logprob_threshold=-2.0))
    assert codes(lenient.run_inference(windows, Looping())) == [None, "repetition", None, None]

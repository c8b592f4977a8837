"""Windows in, one outcome a chunk out, whatever order they come back in."""

from __future__ import annotations

import random

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.dofns.metrics import UNWATCHED
from transforms.engines.handler import SpeechHandler
from transforms.engines.verdict import Thresholds, judge
from transforms.plan_work import Plan, PlanConfig
from transforms.records import (
    AudioFacts,
    DeadLetter,
    MediaChunk,
    MediaFile,
    MediaOutcome,
    Segment,
    SpeechWindow,
    Transcript,
    WindowResult,
    WindowTranscription,
)
from transforms.transcribe_speech import BatchWindows, JoinWindows, TranscribeSpeech, commit, join_windows
from transforms.work.store import WorkStore, source_id
from transforms.work.transcripts import Provenance

AUDIO = AudioFacts(20.0, 20.0, 16_000, 1, "flac", 15.0, 0.1)
PROVENANCE = Provenance("fake", "fake")


class EchoModel:
    def transcribe(self, windows):
        if any(window.pcm == b"bad" for window in windows):
            raise RuntimeError("boom")
        return [
            WindowTranscription({"transcribe": (Segment(0.0, 1.0, window.pcm.decode(), "hi"),)}, "hi", 1.0)
            for window in windows
        ]

    def release_memory(self):
        pass


class EchoEngine:
    def key(self):
        return "echo"

    def load(self):
        return EchoModel()

    def batch_size(self):
        return 4


def media(name):
    return MediaFile(f"id-{name}", name, f"/{name}", "v", name=name)


def windows(name, texts):
    """The windows of one recording, as DecodeAudio gives them."""
    chunk, last = MediaChunk(media(name)), max(len(texts), 1) - 1
    return [
        SpeechWindow(chunk, number, number * 16_000, text.encode())._replace(
            total=len(texts) if number == last else None, audio=AUDIO if number == last else None
        )
        for number, text in enumerate(texts or [""])
    ]


def letter(name):
    return DeadLetter(media(name), "DecodeAudio", "not_media", "fetch it again")


def shown(outputs):
    if isinstance(outputs, Transcript):
        return outputs.media.id, outputs.status, outputs.text
    return outputs.media.id, "failed" if isinstance(outputs, DeadLetter) else "done before", ""


def assert_told(elements, tmp_path, check):
    with TestPipeline("FnApiRunner") as pipeline:
        step = TranscribeSpeech(SpeechHandler(EchoEngine()), WorkStore(str(tmp_path), "asr", "saved"), PROVENANCE)
        assert_that(pipeline | beam.Create(elements, reshuffle=False) | step | beam.Map(shown), check)


def test_every_recording_has_one_outcome_however_its_windows_interleave(tmp_path):
    spoken = {f"m{i}": [f"m{i}w{j}" for j in range(i % 6)] for i in range(20)}
    elements = [window for name, texts in spoken.items() for window in windows(name, texts)]
    random.Random(1).shuffle(elements)
    expected = [(name, "ok" if texts else "empty", " ".join(texts)) for name, texts in spoken.items()]
    assert_told(elements, tmp_path, equal_to(expected))


def test_one_bad_window_costs_itself_and_a_recording_of_bad_windows_is_a_dead_letter(tmp_path):
    elements = [*windows("good", ["a", "b"]), *windows("partly", ["c", "bad"]), *windows("bad", ["bad", "bad"])]
    expected = [("good", "ok", "a b"), ("partly", "partial", "c"), ("bad", "failed", "")]
    assert_told(elements, tmp_path, equal_to(expected))


def test_a_recording_that_fails_half_way_is_one_dead_letter_although_windows_of_it_were_inferred(tmp_path):
    begun = [window._replace(total=None, audio=None) for window in windows("cut", ["a", "b", "c"])]
    last = SpeechWindow(MediaChunk(media("cut")), 3, 0, b"", total=4, failure=letter("cut"))
    for elements in ([*begun, last], [last, *begun], [begun[0], last, *begun[1:]]):
        assert_told(elements, tmp_path, equal_to([("cut", "failed", "")]))


def test_a_planned_failure_and_finished_work_pass_through(tmp_path):
    dead = SpeechWindow(MediaChunk(media("dead"), failure=letter("dead")), 0, 0, b"", total=0, failure=letter("dead"))
    done = SpeechWindow(MediaChunk(media("done"), transcribed=True, saved=True), 0, 0, b"", total=0)
    assert_told([dead, done], tmp_path, equal_to([("dead", "failed", ""), ("done", "done before", "")]))


def test_a_window_that_never_comes_back_is_noticed():
    join = JoinWindows(UNWATCHED)
    join.setup()
    join.start_bundle()
    sent = windows("lost", ["a", "b", "c"])
    heard = WindowTranscription({"transcribe": ()}, "hi", 1.0)
    for window in (sent[0], sent[2]):
        assert list(join.process(WindowResult(window, 1.0, heard))) == []
    (lost,) = [each.value for each in join.finish_bundle()]
    assert (lost.media.id, lost.code, lost.retryable) == ("lost", "incomplete", True)


def test_a_chunk_is_committed_before_its_transcript_goes_on_and_can_be_read_again(tmp_path):
    work = WorkStore(str(tmp_path), "asr", "saved")
    step = TranscribeSpeech(SpeechHandler(EchoEngine()), work, PROVENANCE)
    with TestPipeline("FnApiRunner") as pipeline:
        pipeline | beam.Create(windows("m", ["a", "b"])) | step
    chunk = MediaChunk(media("m"))
    assert work.list_now().complete(source_id(chunk.media)) == 1
    (again,) = commit(chunk._replace(transcribed=True), work, PROVENANCE)
    assert (again.text, [s.start for s in again.segments]) == ("a b", [0.0, 1.0])
    (passed,) = commit(chunk._replace(transcribed=True, saved=True), work, PROVENANCE)
    assert passed == MediaOutcome(media("m"), failed=False, fresh=False)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
def test_batches_are_full_but_for_the_last_and_lose_nothing(count):
    batching = BatchWindows(SpeechHandler(EchoEngine()), UNWATCHED)
    batching.setup()
    batching.start_bundle()
    sent = windows("m", [str(number) for number in range(count)]) if count else []
    batches = [batch for window in sent for batch in batching.process(window)]
    batches += [each.value for each in batching.finish_bundle()]
    assert [window for batch in batches for window in batch] == sent
    assert [len(batch) for batch in batches] == [4] * (count // 4) + ([count % 4] if count % 4 else [])


def inferred(tmp_path, chunks, retry=False):
    """The outputs of one recording in several chunks, each the texts of its windows, planned after an earlier run."""
    work = WorkStore(str(tmp_path), "asr", "saved")
    config = PlanConfig(retry)
    whole = media("long")._replace(size_bytes=10**9)
    chunk = Plan(work, config, UNWATCHED)
    chunk.setup()
    chunk.start_bundle()
    [todo] = chunk.process(whole)
    if todo.dead or todo.transcribed:
        return todo, list(commit(todo, work, PROVENANCE))
    outputs, join = [], JoinWindows(UNWATCHED)
    join.setup()
    join.start_bundle()
    done = [number for number in range(len(chunks)) if f"{number}-of-{len(chunks)}" not in todo.committed]
    done = [number for number in done if f"{number}-of-{len(chunks)}-failed" not in todo.committed]
    for number in done:
        part = todo._replace(chunk=number, chunks=len(chunks))
        at = number * 10 * 16_000
        sent = [
            each._replace(chunk=part, start_sample=each.start_sample + at) for each in windows("long", chunks[number])
        ]
        for result in SpeechHandler(EchoEngine()).run_inference(sent, EchoModel()):
            for joined in join.process(result):
                outputs += commit(joined, work, PROVENANCE)
    return done, outputs


def test_a_chunk_that_the_model_fails_on_costs_itself_and_is_tried_again_when_asked(tmp_path):
    done, [outputs] = inferred(tmp_path, [["a", "b"], ["bad", "bad"], ["c"]])
    assert (done, outputs.status, outputs.text) == ([0, 1, 2], "partial", "a b c")
    assert [(each.where, each.code) for each in outputs.problems] == [
        ("chunk 1, window 0", "engine_failed"),
        ("chunk 1, window 1", "engine_failed"),
    ]
    planned, [again] = inferred(tmp_path, [["a", "b"], ["x"], ["c"]])
    assert (planned.transcribed, again) == (True, outputs)  # nothing is inferred unasked
    done, [outputs] = inferred(tmp_path, [["a", "b"], ["x"], ["c"]], retry=True)
    assert (done, outputs.status, outputs.text) == ([1], "ok", "a b x c")
    assert WorkStore(str(tmp_path), "asr", "saved").committed(outputs.media) == ("0-of-3", "1-of-3", "2-of-3")


def test_a_recording_all_of_whose_chunks_fail_is_a_dead_letter_that_can_be_tried_again(tmp_path):
    done, [outputs] = inferred(tmp_path, [["bad"], ["bad", "bad"], []])
    assert (done, outputs.code, outputs.retryable, outputs.detail) == (
        [0, 1, 2],
        "engine_failed",
        True,
        "RuntimeError: boom",
    )
    WorkStore(str(tmp_path), "asr", "saved").commit_dead_letter(outputs)
    planned, _ = inferred(tmp_path, [["a"], ["b"], []])
    assert planned.dead
    done, [outputs] = inferred(tmp_path, [["a"], ["b"], []], retry=True)
    assert (done, outputs.status, outputs.text) == ([0, 1], "ok", "a b")


def test_a_retry_that_was_killed_leaves_failed_chunks_to_the_next_run(tmp_path):
    inferred(tmp_path, [["a"], ["bad"], ["bad"]])
    work = WorkStore(str(tmp_path), "asr", "saved")
    step = Plan(work, PlanConfig(retry_failed=True), UNWATCHED)
    step.setup()
    step.start_bundle()
    list(step.process(media("long")._replace(size_bytes=10**9)))  # and no more
    done, outputs = inferred(tmp_path, [["a"], ["b"], ["c"]])
    assert (done, [each.text for each in outputs]) == ([1, 2], ["a b c"])


def test_a_recording_that_left_the_input_is_not_tried_again(tmp_path):
    inferred(tmp_path, [["a"], ["bad"]])
    work = WorkStore(str(tmp_path), "asr", "saved")
    gone = media("long")._replace(size_bytes=10**9, kept=True)
    step = Plan(work, PlanConfig(retry_failed=True), UNWATCHED)
    step.setup()
    step.start_bundle()
    [chunk] = step.process(gone)
    assert chunk.transcribed
    assert work.committed(gone) == ("0-of-2", "1-of-2-failed")


def test_a_window_whose_figures_are_no_numbers_is_a_problem_of_its_media(tmp_path):
    texts = {"transcribe": (Segment(0.0, 1.0, "a", "hi"),)}
    heard = WindowTranscription(texts, "hi", 0.5, None, None, unmeasured=True)
    [window] = windows("m", ["a"])
    heard = heard._replace(verdict=judge(window, heard, Thresholds()))
    joined = join_windows([WindowResult(window, 1.0, heard)])
    [outputs] = commit(joined, WorkStore(str(tmp_path), "asr", "saved"), PROVENANCE)
    assert (outputs.status, outputs.avg_logprob, outputs.no_speech_prob) == ("partial", None, None)
    assert [(each.where, each.code) for each in outputs.problems] == [("window 0", "not_a_number")]


def test_a_loop_is_counted_and_a_problem_at_its_second_of_its_recording_alone(tmp_path):
    elements = [*windows("looping", ["a", "ka " * 448]), *windows("good", ["b"])]

    def told(transcript):
        return transcript.media.id, transcript.status, [(each.where, each.code) for each in transcript.problems]

    with TestPipeline("FnApiRunner") as pipeline:
        step = TranscribeSpeech(SpeechHandler(EchoEngine()), WorkStore(str(tmp_path), "asr", "saved"), PROVENANCE)
        expected = [("looping", "partial", [("second 1.0", "repetition")]), ("good", "ok", [])]
        created = pipeline | beam.Create(elements, reshuffle=False)
        assert_that(created | step | beam.Map(told), equal_to(expected))
    counted = {each.key.metric.name: each.result for each in pipeline.result.metrics().query()["counters"]}
    doubted = {name: value for name, value in counted.items() if name.startswith("windows_") and value}
    assert (counted["windows"], doubted) == (3, {"windows_repetition": 1})

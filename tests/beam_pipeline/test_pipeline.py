"""The shape of the graph: one fused chain, stable names, no audio across a shuffle."""

from __future__ import annotations

import re

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import translations

from beam_pipeline.parser import parse
from beam_pipeline.pipeline import build
from beam_pipeline.run.job import make_job
from tests.conftest import SAMPLES


@pytest.fixture(params=[[], ["--translate_to", "fr"]], ids=["plain", "translated"])
def graph(request, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    words = ["--input", str(SAMPLES), "--output", "/tmp/never-written", "--model", "demo", *request.param]
    pipeline = beam.Pipeline(options=PipelineOptions([]))
    build(pipeline, make_job(parse(words)[0]))
    return pipeline.to_runner_api()


def stages(graph):
    """The transforms of each stage that a runner would execute."""
    urns = [common_urns.composites.RESHUFFLE.urn, common_urns.primitives.IMPULSE.urn]
    urns += [common_urns.primitives.FLATTEN.urn, common_urns.primitives.GROUP_BY_KEY.urn]
    fused = translations.optimize_pipeline(
        graph,
        phases=translations.standard_optimize_phases(),
        known_runner_urns=frozenset(urns),
        partial=False,
    )
    found = []
    for root in fused.root_transform_ids:
        transform = fused.components.transforms[root]
        if "executable_stage" in transform.spec.urn:
            payload = beam_runner_api_pb2.ExecutableStagePayload.FromString(transform.spec.payload)
            found.append([payload.components.transforms[name].unique_name for name in payload.transforms])
    return found


def test_everything_from_decoding_to_saving_is_one_stage(graph):
    (chain,) = [stage for stage in stages(graph) if any("DecodeAudio" in name for name in stage)]
    for step in ("DecodeAudio/DecodeAhead", "RunInference", "TranscribeSpeech/Commit", "SaveMedia/Save"):
        assert any(step in name for name in chain), f"{step} is in another stage"
    assert not any("CollectMedia" in name or "WriteShard" in name for name in chain)


def test_chunks_are_spread_by_the_only_reshuffle(graph):
    """Flink's batch optimizer drops the second of two in a row: one worker would get all chunks of a recording."""
    shuffles = [
        transform.unique_name
        for transform in graph.components.transforms.values()
        if transform.spec.urn == common_urns.composites.RESHUFFLE.urn
    ]
    assert shuffles == ["PlanWork/SpreadChunks"]


def test_names_are_stable_and_say_what_they_do(graph):
    names = [transform.unique_name for transform in graph.components.transforms.values()]
    assert [name for name in names if re.search(r"lambda|\.py:\d+", name)] == []


def test_the_records_are_not_row_coded(graph):
    """Workers in other processes would get classes without our methods."""
    urns = {coder.spec.urn for coder in graph.components.coders.values()}
    assert "beam:coder:row:v1" not in urns

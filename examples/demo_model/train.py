"""Train the demo model: `python train.py`, once more to resume from the last checkpoint.

Stages grow the window: the encoder's positions are sinusoids, so the weights carry over from a
short frame, which is cheap, to Whisper's 30 s. A CTC loss on the encoder's states, whose head is
thrown away, finds the alignment between sound and text within a few hundred steps.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import vocabulary
from speech import WORK
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.whisper.modeling_whisper import sinusoids
from windows import IGNORED, STATES_PER_S, Batch, Batches, Shape

CHECKPOINT = WORK / "checkpoint.pt"
WARM_UP_STEPS = 100
MUON_RATE = 1.5
"""Muon's learning rate, in AdamW's."""
LOG_EVERY = 25
PROCESSES = 2
"""One a core, each with half of a batch: they wait for each other once a step."""
SAVE_EVERY_S = 150.0
LONGEST_SHORT_S = 8
"""The longest frame for which `short_attention` is the faster one."""


@dataclass(frozen=True)
class Stage:
    """A part of the training with windows of one shape; the rate falls by a cosine."""

    name: str
    shape: Shape
    steps: int
    first_rate: float
    last_rate: float
    ctc_weight: float = 0.4
    anew: bool = False
    """Begin with new optimizers, a new CTC head, a warm-up, and the windows of the next seed."""

    def rate(self, step: int) -> float:
        fallen = 0.5 - 0.5 * math.cos(math.pi * step / self.steps)
        return self.first_rate + (self.last_rate - self.first_rate) * fallen


STAGES = (
    Stage("single", Shape(4, 4.0, 1, 32), 1_500, 2e-3, 1.2e-3, ctc_weight=1.0, anew=True),
    Stage("8 s", Shape(8, 8.0, 4, 16), 4_000, 1.2e-3, 4e-4),
    Stage("15 s", Shape(15, 15.0, 7, 10), 1_000, 4e-4, 3e-4),
    Stage("30 s", Shape(30, 15.0, 7, 8, 0.75), 1_500, 4e-4, 1e-5),
    # Once more with a high rate and a new draw of windows: of the same hours, this gave the most.
    Stage("8 s again", Shape(8, 8.0, 4, 16), 1_600, 1e-3, 5e-4, anew=True),
    Stage("15 s again", Shape(15, 15.0, 7, 10), 700, 5e-4, 4e-4),
    Stage("30 s again", Shape(30, 15.0, 7, 8, 0.75), 1_800, 4e-4, 1e-5),
)


def short_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """Return softmax(query · key) · value, float[batch, n_queries, heads, 32], all in bfloat16.

    Up to a few hundred positions, this is faster on a CPU than torch's fused attention, whose
    gradient takes a third of a step.
    """
    with torch.autocast("cpu", enabled=False):
        scores = (query * scaling) @ key.transpose(2, 3)
        if attention_mask is not None:
            scores = scores + attention_mask.to(scores.dtype)
        elif module.is_causal and query.shape[2] > 1:
            future = torch.ones(scores.shape[2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(future, -math.inf)
        mixed = scores.softmax(-1) @ value
    return mixed.transpose(1, 2).contiguous(), None


@dataclass
class Training:
    """Everything that a checkpoint holds."""

    model: WhisperForConditionalGeneration
    ctc_head: nn.Linear
    optimizers: tuple[torch.optim.Muon, torch.optim.AdamW]
    stage: int = 0
    step: int = 0
    trained_s: float = 0.0
    saved_at: float = field(default_factory=time.monotonic)


def model_config() -> WhisperConfig:
    """Return the model's shape: 2.9 million parameters, heads of 32."""
    tokenizer = vocabulary.make_processor().tokenizer
    start = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    return WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=160,
        encoder_layers=4,
        decoder_layers=2,
        encoder_attention_heads=5,
        decoder_attention_heads=5,
        encoder_ffn_dim=640,
        decoder_ffn_dim=640,
        dropout=0.0,
        max_source_positions=1_500,
        max_target_positions=448,
        decoder_start_token_id=start,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


def set_frame(model: WhisperForConditionalGeneration, frame_s: int) -> None:
    """Give the encoder an input of frame_s seconds, with fresh sinusoids for its positions."""
    positions = frame_s * STATES_PER_S
    encoder = model.model.encoder
    encoder.embed_positions = nn.Embedding.from_pretrained(sinusoids(positions, model.config.d_model), freeze=True)
    encoder.max_source_positions = model.config.max_source_positions = positions
    encoder.config.max_source_positions = positions
    model.set_attn_implementation("short" if frame_s <= LONGEST_SHORT_S else "sdpa")


def start(seed: int) -> Training:
    """Return an untrained model, or the last checkpoint if there is one."""
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(model_config())
    set_frame(model, STAGES[0].shape.frame_s)
    ctc_head = nn.Linear(model.config.d_model, len(vocabulary.letters()) + 1)
    training = Training(model, ctc_head, make_optimizers(model, ctc_head))
    if CHECKPOINT.exists():
        load(training, CHECKPOINT)
    return training


def begin_anew(training: Training) -> None:
    """Forget what the optimizers and the CTC head have learned, in place; the model stays."""
    config = training.model.config
    training.ctc_head = nn.Linear(config.d_model, len(vocabulary.letters()) + 1)
    training.optimizers = make_optimizers(training.model, training.ctc_head)


def make_optimizers(
    model: WhisperForConditionalGeneration, ctc_head: nn.Linear
) -> tuple[torch.optim.Muon, torch.optim.AdamW]:
    """Return Muon for the matrices inside the layers, AdamW for everything else that is learned."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if ".layers." in name and p.ndim == 2]
    others = [p for name, p in named if not (".layers." in name and p.ndim == 2)]
    others += ctc_head.parameters()
    return (
        torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    )


def load(training: Training, path: Path) -> None:
    """Continue from a checkpoint, in place."""
    saved = torch.load(path, weights_only=True)
    training.stage, training.step = saved["stage"], saved["step"]
    training.trained_s = saved["trained_s"]
    set_frame(training.model, saved["frame_s"])
    training.model.load_state_dict(saved["model"])
    training.ctc_head.load_state_dict(saved["ctc_head"])
    for optimizer, state in zip(training.optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)


def save(training: Training, path: Path) -> None:
    """Write a checkpoint; a reader sees the old one or the new one, never a half."""
    state = {
        "stage": training.stage,
        "step": training.step,
        "trained_s": training.trained_s,
        "frame_s": training.model.config.max_source_positions // STATES_PER_S,
        "model": training.model.state_dict(),
        "ctc_head": training.ctc_head.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in training.optimizers],
    }
    unfinished = path.with_suffix(".unfinished")
    torch.save(state, unfinished)
    unfinished.replace(path)
    training.saved_at = time.monotonic()


def losses(training: Training, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return (cross-entropy of the tokens, CTC loss a character spoken), each a scalar."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = training.model.model.encoder(batch.mels).last_hidden_state
        scores = training.model(encoder_outputs=(states,), decoder_input_ids=batch.tokens, use_cache=False).logits
        spoken_scores = training.ctc_head(states)
    cross_entropy = functional.cross_entropy(
        scores.flatten(0, 1).float(), batch.labels.flatten(), ignore_index=IGNORED
    )
    ctc = functional.ctc_loss(
        spoken_scores.float().log_softmax(-1).transpose(0, 1),
        batch.spoken,
        batch.states,
        batch.spoken_lengths,
        blank=len(vocabulary.letters()),
        reduction="none",
        zero_infinity=True,
    )
    speaks = batch.spoken_lengths > 0
    ctc_a_letter = (ctc * speaks / batch.spoken_lengths.clamp(min=1)).sum() / speaks.sum()
    return cross_entropy, ctc_a_letter


def average_gradients(learned: list[Tensor]) -> None:
    """Replace each gradient by its mean over the processes, in place."""
    gradients = [parameter.grad for parameter in learned]
    flat = nn.utils.parameters_to_vector(gradients)
    distributed.all_reduce(flat)
    nn.utils.vector_to_parameters(flat / PROCESSES, gradients)


def train_stage(training: Training, stage: Stage, seed: int) -> Iterator[tuple[float, float]]:
    """Train to the end of the stage; yield (cross-entropy, CTC loss) after each step."""
    set_frame(training.model, stage.shape.frame_s)
    part = distributed.get_rank()
    shape = replace(stage.shape, batch=stage.shape.batch // PROCESSES)
    batches = Batches("training", shape, seed + part, stage.steps)
    rest = range(training.step, stage.steps)
    loader = DataLoader(batches, batch_size=None, sampler=rest, num_workers=1, prefetch_factor=6)
    groups = [group for optimizer in training.optimizers for group in optimizer.param_groups]
    learned = [parameter for group in groups for parameter in group["params"]]
    for batch in loader:
        begun = time.monotonic()
        warm_up = min(1.0, (training.step + 1) / WARM_UP_STEPS) if stage.anew else 1.0
        for group, factor in zip(groups, (MUON_RATE, 1.0), strict=True):
            group["lr"] = stage.rate(training.step) * warm_up * factor
        cross_entropy, ctc = losses(training, batch)
        training.model.zero_grad()
        training.ctc_head.zero_grad()
        (cross_entropy + stage.ctc_weight * ctc).backward()
        average_gradients(learned)
        nn.utils.clip_grad_norm_(learned, 1.0)
        for optimizer in training.optimizers:
            optimizer.step()
        training.step += 1
        training.trained_s += time.monotonic() - begun
        yield cross_entropy.item(), ctc.item()


def report(stage: Stage, step: int, recent: list[tuple[float, float]], step_s: float) -> None:
    """Print one line: the time, the step, the mean losses of the recent steps."""
    cross_entropy, ctc = (sum(column) / len(recent) for column in zip(*recent, strict=True))
    print(
        f"{time.strftime('%H:%M:%S')} {stage.name} step {step}/{stage.steps} "
        f"cross-entropy {cross_entropy:.3f} ctc {ctc:.3f} {step_s:.2f} s a step",
        flush=True,
    )


def train(part: int, seed: int, meeting: str) -> None:
    """Train to the end in one of the processes; the first writes the log and the checkpoints."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", meeting, rank=part, world_size=PROCESSES)
    training = start(seed)
    training.model.train()
    while training.stage < len(STAGES):
        stage, cycle = STAGES[training.stage], sum(each.anew for each in STAGES[: training.stage + 1])
        if stage.anew and not training.step:
            begin_anew(training)
        recent: list[tuple[float, float]] = []
        begun = time.monotonic()
        for both in train_stage(training, stage, (seed + cycle - 1) * PROCESSES):
            recent.append(both)
            if len(recent) == LOG_EVERY:
                if part == 0:
                    step_s = (time.monotonic() - begun) / LOG_EVERY
                    report(stage, training.step, recent, step_s)
                recent, begun = [], time.monotonic()
            if part == 0 and time.monotonic() - training.saved_at > SAVE_EVERY_S:
                save(training, CHECKPOINT)
        training.stage, training.step = training.stage + 1, 0
        if part == 0:
            save(training, CHECKPOINT)
            save(training, WORK / f"after-{stage.name.replace(' ', '-')}.pt")


ALL_ATTENTION_FUNCTIONS.register("short", short_attention)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    meeting = WORK / "processes"
    meeting.unlink(missing_ok=True)
    multiprocessing.spawn(train, (arguments.seed, f"file://{meeting}"), nprocs=PROCESSES)


if __name__ == "__main__":
    main()

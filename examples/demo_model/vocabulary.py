"""The demo model's tokenizer: byte-level BPE of its own text, then Whisper's special tokens.

After the text come `<|endoftext|>`, Whisper's special tokens in Whisper's order with
`<|notimestamps|>` last, and 1,501 timestamps, 0.02 s apart.
"""

import functools
import json

import sentences
from tokenizers import ByteLevelBPETokenizer
from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

TEXT_TOKENS = 1_000
END = "<|endoftext|>"
SPECIAL = (
    "<|startoftranscript|>",
    *(f"<|{code}|>" for code in list(LANGUAGES)[:99]),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMESTAMP_STEP_S = 0.02
TIMESTAMPS = tuple(f"<|{step * TIMESTAMP_STEP_S:.2f}|>" for step in range(1_501))


@functools.cache
def make_processor() -> WhisperProcessor:
    """Return Whisper's feature extractor with a tokenizer trained on the training sentences.

    Text tokens come first, so an id below `<|endoftext|>` is text. The result is the same each
    time.
    """
    trained = ByteLevelBPETokenizer()
    texts = sorted({f" {text}" for text in sentences.all_sentences()})
    trained.train_from_iterator(texts, TEXT_TOKENS, min_frequency=1, show_progress=False)
    model = json.loads(trained.to_str())["model"]
    tokenizer = WhisperTokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        unk_token=END,
        bos_token=END,
        eos_token=END,
        extra_special_tokens=list(SPECIAL),
    )
    tokenizer.add_tokens(list(TIMESTAMPS))
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer)


@functools.cache
def letters() -> tuple[str, ...]:
    """Return every character of the training sentences, the labels of the CTC loss."""
    return tuple(sorted({" "}.union(*sentences.all_sentences())))

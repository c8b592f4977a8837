"""Make what the code says once more: input.md, options.md, schema.md and failures.md here, types.py and
beam_flags.json of beam_pipeline, and runners/dataflow/metadata.json.

python docs/generate.py          writes them
python docs/generate.py --check  exits with 1 when one is stale
"""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from beam_pipeline import beam_flags, options
from beam_pipeline.api.child import NOT_FROM_PYTHON
from beam_pipeline.options import Option
from beam_pipeline.parser import default_text
from transforms.dataset.schema import DEAD_LETTERS, SCHEMA_VERSION, SEGMENTS, TABLES, TRANSCRIPTS
from transforms.dead_letters import CODES, HARMLESS, PROBLEMS, RETRYABLE
from transforms.inputs.folders import REASONS
from transforms.media.suffixes import AUDIO, VIDEO

DOCS = pathlib.Path(__file__).parent
INPUT = """
# What counts as input

A file that is named by itself, on the command line or in a manifest, is taken whatever its name. Of a folder, and
of a pattern whose last part has no dot, files with these suffixes are, in capitals or not; `--suffixes` adds some.

Sound: {sound}

Video: {video}

## What is passed over

What is passed over fails no run. It is counted by its reason in `skipped` of summary.json, and what has another
suffix in `skipped_suffixes` too; `--dry_run` says the same with a few of the names.

| reason | what it is |
|---|---|
{reasons}

A pointer of Git LFS or git-annex whose content was never fetched, and a link that leads nowhere, stand for a
recording: each is a dead letter that says how to fetch it.

## Ids and names

The `id` of a recording is its path from the input that it was found under. Where two inputs have the same, each gets
as many of its folders in front as tell them apart: `day1/clip.mp3`, `day2/clip.mp3`. Files under `media/` are called
after the id, without its suffix; where several media would write the same file (`a.mp4` and `a.mp3`), each has a
part of its `media_id` behind it. What comes later renames nothing: a recording whose files are there keeps its id and
its name.
"""
MADE = "<!-- made by docs/generate.py -->\n"


def options_page() -> str:
    """Every flag, in a table a step."""
    lines = [MADE, "# Options\n", options.DESCRIPTION + " " + options.EPILOG + "\n"]
    lines.append("`--config FILE.yaml` sets any of them: `model: demo`, `input: [a, b]`, `overwrite: true`.\n")
    for step, listed in options.STEPS.items():
        lines += [f"## {step}\n", "| flag | default | meaning |", "|---|---|---|"]
        lines += [f"| `--{each.name}` | {_default(each)} | {_cell(each.help)} |" for each in listed]
        lines.append("")
    return "\n".join(lines)


def schema_page() -> str:
    """The columns of each table."""
    lines = [MADE, f"# The dataset (schema version {SCHEMA_VERSION})\n"]
    lines.append(
        "Parquet, zstd, one folder a table under the output. Times are seconds from the start of the recording.\n"
    )
    for name, (schema, _) in TABLES.items():
        lines += [f"## {name}\n", "| column | type | null | meaning |", "|---|---|---|---|"]
        lines += [row for field in schema for row in _rows(field, "")]
        lines.append("")
    return "\n".join(lines)


def input_page() -> str:
    """What is taken from folders, and what is passed over."""
    reasons = "\n".join(f"| `{reason}` | {_cell(text)} |" for reason, text in REASONS.items())
    sound, video = (" ".join(f"`{each}`" for each in sorted(kind)) for kind in (AUDIO, VIDEO))
    return MADE + INPUT.format(sound=sound, video=video, reasons=reasons)


def failures_page() -> str:
    """Every code of a dead letter and of a problem, and what to do."""
    lines = [MADE, "# When something cannot be done\n"]
    lines.append(
        "A recording that cannot be done is a row of `dead_letters`; the others are not touched, and the run ends "
        "with exit code 3. A dead letter is remembered: a later run tries it again when the file changes, or with "
        "`--retry_failed`. What went wrong inside a recording with a transcript is in its `problems`, and its "
        f"`status` is `partial`, but for {' and '.join(f'`{code}`' for code in sorted(HARMLESS))}.\n"
    )
    lines += ["## Codes of dead letters\n", "| code | what to do | may another try help |", "|---|---|---|"]
    lines += [
        f"| `{code}` | {_cell(text)} | {'yes' if code in RETRYABLE else 'no'} |" for code, text in CODES.items()
    ]
    lines += ["\n## Codes of problems\n", "| code | meaning |", "|---|---|"]
    lines += [f"| `{code}` | {_cell(text)} |" for code, text in PROBLEMS.items()]
    return "\n".join([*lines, ""])


def typed_module() -> str:
    """The types of the options and rows that callers from Python meet."""
    lines = [
        "# made by docs/generate.py",
        '"""What editors and type checkers know of the options of `transcribe`, and of the rows of its result."""\n',
        "from __future__ import annotations\n",
        "import os",
        "from collections.abc import Iterable",
        "from typing import Literal, TypedDict\n\n",
        "class Options(TypedDict, total=False):",
        '    """Every option beside input and output."""\n',
    ]
    for option in options.OPTIONS.values():
        if option.name not in ("input", "output", *NOT_FROM_PYTHON):
            lines += _typed(option.name, _option_type(option), option.help)
    segment, translated = (TRANSCRIPTS.field(name).type.value_type for name in ("segments", "translated_segments"))
    problem = TRANSCRIPTS.field("problems").type.value_type
    named = {segment: "TranscriptSegment", translated: "TranslatedSegment", problem: "TranscriptProblem"}
    lines += _row_class("TranscriptSegment", "A timed piece of a transcript.", segment, named)
    lines += _row_class("TranslatedSegment", "A timed piece of a translation.", translated, named)
    lines += _row_class("TranscriptProblem", "What went wrong inside a recording.", problem, named)
    lines += _row_class("TranscriptRow", "A row of transcripts.", TRANSCRIPTS, named)
    lines += _row_class("SegmentRow", "A row of segments.", SEGMENTS, named)
    lines += _row_class("DeadLetterRow", "A row of dead_letters.", DEAD_LETTERS, named)
    return "\n".join([*lines, ""])


def flex_metadata() -> str:
    """What a flex template of Dataflow can be given: the flags, but for those that only a terminal has a use for."""
    parameters = [_parameter(option) for option in options.OPTIONS.values() if not option.terminal]
    image = {"name": "sdk_container_image", "label": "sdk_container_image", "paramType": "TEXT", "isOptional": False}
    parameters.append({**image, "helpText": "image of the workers, with this package: see docs/containers.md"})
    says = {"name": "beam_pipeline", "description": options.DESCRIPTION, "streaming": False}
    return json.dumps({**says, "parameters": parameters}, indent=1) + "\n"


def _parameter(option: Option) -> dict[str, Any]:
    several = "; several with spaces between them" if option.several else ""
    made = {
        "name": option.name,
        "label": option.name,
        "helpText": option.help + several,
        "paramType": "BOOLEAN" if option.is_switch else "TEXT",
        "isOptional": not option.required,
    }
    if option.choices and not option.several:
        choices = [{"value": choice, "label": choice} for choice in option.choices]
        made |= {"paramType": "ENUM", "enumOptions": choices}
    if default := "" if option.required else default_text(option.default):
        made["defaultValue"] = default
    return made


def beam_flags_list() -> str:
    """The flags of the installed Beam, so that a wrong one is found without importing it."""
    listed = {name: list(flag) for name, flag in sorted(beam_flags.described().items())}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(flag)}" for name, flag in listed.items())
    return f'{{"beam": "{importlib.metadata.version("apache-beam")}", "flags": {{\n{lines}\n}}}}\n'


PAGES = {
    "input.md": input_page,
    "options.md": options_page,
    "schema.md": schema_page,
    "failures.md": failures_page,
    "../beam_pipeline/api/types.py": typed_module,
    "../beam_pipeline/beam_flags.json": beam_flags_list,
    "../runners/dataflow/metadata.json": flex_metadata,
}
TYPES = {"string": "str", "double": "float", "bool": "bool", "int16": "int", "int32": "int"}


def _row_class(name: str, says: str, fields: pa.Schema | pa.StructType, named: dict[pa.DataType, str]) -> list[str]:
    lines = ["", "", f"class {name}(TypedDict):", f'    """{says}"""', ""]
    for field in fields:
        inner = field.type.value_type if pa.types.is_list(field.type) else None
        kind = named.get(inner) or TYPES[str(inner or field.type)]
        kind = f"list[{kind}]" if inner else kind
        kind = f"{kind} | None" if field.nullable else kind
        lines += _typed(field.name, kind, field.metadata[b"description"].decode())
    return lines


def _option_type(option: Option) -> str:
    """The type of an option, as Python writes it."""
    if option.is_switch:
        return "bool"
    kind = option.kind.__name__
    if option.choices:
        kind = f"Literal[{', '.join(map(repr, option.choices))}]".replace("'", '"')
    elif option.name in ("config", "model"):
        kind = "str | os.PathLike[str]"
    return f"Iterable[{kind}]" if option.several else kind


def _typed(name: str, kind: str, says: str) -> Iterator[str]:
    """A line of a class, with what it is above it."""
    yield from (f"    # {line}" for line in textwrap.wrap(says, 110))
    line = f"    {name}: {kind}"
    if len(line) > 118:  # its choices one a line, as ruff has it
        before, _, choices = line.removesuffix("]").partition("[")
        line = "\n".join([f"{before}[", *(f"        {choice}," for choice in choices.split(", ")), "    ]"])
    yield line


def _rows(field: pa.Field, parent: str) -> list[str]:
    """The table row of a column, and those of the fields inside it."""
    inner = field.type.value_type if pa.types.is_list(field.type) else None
    kind = str(field.type) if inner is None else "list of struct" if pa.types.is_struct(inner) else f"list of {inner}"
    meaning = field.metadata[b"description"].decode()
    rows = [f"| `{parent}{field.name}` | {kind} | {'yes' if field.nullable else 'no'} | {_cell(meaning)} |"]
    if inner is not None and pa.types.is_struct(inner):
        rows += [row for each in inner for row in _rows(each, f"{parent}{field.name}.")]
    return rows


def _default(option: Option) -> str:
    if option.required:
        return "required"
    shown = default_text(option.default)
    return f"`{shown}`" if shown else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    stale = [name for name, page in PAGES.items() if _content(name) != page()]
    if "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}; run script/fix" if stale else "docs are fresh")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
    return 0


def _content(name: str) -> str:
    path = DOCS / name
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())

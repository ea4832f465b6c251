"""Measure what works on each architecture, and write ``docs/compatibility.md``.

    python -m tests.compatibility --out docs/compatibility.md

Each causal language model of ``transformers`` is built with a tiny configuration and random weights. The page
has the measured difference between several experts in one batch and each expert alone. Formats and recipe
keys are from the tables of their readers.
"""

import argparse
import copy
import datetime
import json
import platform
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from lorary.assembly import load_model
from lorary.data.readers import describe_formats
from lorary.models import attach_experts, find_layers, fold, wrap_base
from lorary.passes import find_layout
from lorary.passes.layout import Layout
from lorary.transforms.merging import MERGEKIT, PARAMETER_KEYS, RECIPE_KEYS, SLICE_KEYS
from tests.architectures import MODEL_TYPES, NOT_BUILT
from tests.encoder_decoders import KINDS as ENCODER_DECODERS
from tests.test_architectures import (
    BATCH,
    PROMPTS,
    REFUSED,
    REQUESTS,
    SEQUENCES,
    WITHOUT_GENERATION,
    build,
    draw_expert,
    generate_alone,
    make_tokenizer,
    run_alone,
    run_passes,
    score_alone,
)

# Largest accepted difference between a batch and single texts, relative to the largest value.
TOLERANCE = 1e-3
COLUMNS = ("layout", "score", "train", "assign", "generate", "all-linear")
PAGE = """# What works with what

This page lists {num_built} architectures of causal language models, {num_formats} formats of data rows, and
all keys of merge recipes. This command measures them and writes the page:

```
python -m tests.compatibility --out docs/compatibility.md
```

Measured with {versions}, {machine}, {date}; one tiny random model of each architecture, float32.

## Architectures

The table has all causal language models of `transformers`.

- **layout**: the arrangement of the texts of a batch in a forward pass (`Layout` of `lorary.passes`). A trial
  on the model finds the first of *shared*, *masked*, *packed*, *padded* and *alone* that is exact.
- **score**, **assign**: the largest difference of losses (score) or logits (assign) between a batch in which
  each text has another expert, and each text alone on a model into whose weights its expert is folded. It is
  relative to the largest value.
- **train**: the same for gradients, of experts that are trained in one batch and alone; 0 in layout *alone*.
- **generate**: number of answers of a mixed batch that equal those of `transformers` for each prompt alone.
  "Arrow fails" is added if the logits of Arrow are not finite.
- **all-linear**: number of layers that `target_modules="all-linear"` chooses, and the difference from PEFT's
  choice. lorary leaves out layers whose inputs are not the tokens of a text in their order.

{architectures}

Refused, or not tried:

{others}

## Models with an encoder and a decoder

Training, mixed batches, routing, folding and answers are compared with PEFT, or with each example alone, on
tiny random models of these kinds: {encoders}. Other models of `AutoModelForSeq2SeqLM` load, and are
not tested: compare a few answers with those of PEFT before you rely on them.

## Data

A row is read by the first of these formats whose fields it has; `--format` chooses another (`docs/data.md`).

{formats}

## Merge recipes

Each key is used, ignored or refused. `lorary merge` lists the ignored keys of a recipe.

{keys}

Methods of mergekit and the corresponding methods of lorary (`docs/results/merging.md` compares the results):

{methods}
"""


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/compatibility.md"))
    parser.add_argument("--only", nargs="*", default=MODEL_TYPES, help="Model types; default: all")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    rows = []
    for number, model_type in enumerate(options.only, start=1):
        print(f"{number}/{len(options.only)} {model_type}", file=sys.stderr)
        rows.append([model_type, *measure_architecture(model_type)])
    options.out.write_text(format_page(rows))


def measure_architecture(model_type: str) -> list[str]:
    """Return the cells of one architecture, in the order of ``COLUMNS``."""
    if model_type in NOT_BUILT:
        return [f"not tried: {NOT_BUILT[model_type]}"]
    if model_type in REFUSED:
        return [f"refused: {REFUSED[model_type][1]}"]
    model = build(model_type)
    experts = {name: draw_expert(model, name, seed) for seed, name in enumerate(["poetry", "sql"])}
    folded = [*(fold(model, expert) for expert in experts.values()), copy.deepcopy(model)]
    stack = attach_experts(model, experts)
    layout = find_layout(stack, 8, 12)
    losses, gradients = run_passes(stack, layout)
    cells = [
        layout.value,
        show(lambda: compare_losses(losses, folded)),
        show(lambda: compare(gradients, run_passes(stack, Layout.ALONE)[1])) if gradients else "none",
    ]
    with torch.no_grad(), stack.assign(["poetry", "sql", None]):
        together = model(input_ids=BATCH, use_cache=False).logits
    alone = [run_alone(each, ids) for each, ids in zip(folded, BATCH.tolist(), strict=True)]
    stack.detach()
    routed = load_model(wrap_base(model, make_tokenizer(), name="base"), experts, router="arrow")
    return [
        *cells,
        show(lambda: compare(list(together), alone)),
        ("not by transformers" if model_type in WITHOUT_GENERATION else count_equal(routed, folded))
        + ("" if routed(input_ids=BATCH, use_cache=False).logits.isfinite().all() else "; Arrow fails"),
        compare_layers(model_type),
    ]


def compare_losses(losses: list[torch.Tensor], folded: list[torch.nn.Module]) -> float:
    """Compare losses of one batch with those of each sequence alone, on a model with its expert folded in."""
    alone = [score_alone(folded[request], each) for request, each in zip(REQUESTS, SEQUENCES, strict=True)]
    return compare(losses, alone)


def compare(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Return the largest difference, relative to the largest expected value."""
    scale = max(float(each.nan_to_num().abs().max()) for each in expected)
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).nan_to_num().abs().max()) for a, b in pairs) / max(scale, 1e-12)


def count_equal(routed: object, folded: list[torch.nn.Module]) -> str:
    """Count answers of a batch that equal those of ``transformers`` for each prompt alone."""
    answers = routed.generate(PROMPTS, experts=["poetry", "sql", None], max_new_tokens=4)
    tokenizer = routed.tokenizer
    right = sum(
        answer == tokenizer.decode(generate_alone(each, prompt), skip_special_tokens=True)
        for each, prompt, answer in zip(folded, PROMPTS, answers, strict=True)
    )
    return f"{right} of {len(PROMPTS)}"


def compare_layers(model_type: str) -> str:
    """Count the layers that lorary's ``all-linear`` chooses, and the differences from PEFT's choice."""
    model = build(model_type)
    ours = set(find_layers(model, "all-linear"))
    try:
        inject_adapter_in_model(LoraConfig(r=2, target_modules="all-linear"), model)
    except Exception as error:  # PEFT fails on some architectures, with different exceptions
        return f"{len(ours)}; PEFT: {type(error).__name__}"
    theirs = {path for path, module in model.named_modules() if isinstance(module, LoraLayer)}
    parts = [
        f"{len(found)} {word}" for word, found in (("less", theirs - ours), ("more", ours - theirs)) if found
    ]
    return f"{len(ours)}, " + (", ".join(parts) or "same")


def show(measure: Callable[[], float]) -> str:
    """Format a difference, and mark it if it is too large."""
    value = measure()
    return f"{value:.0e}" + ("" if value <= TOLERANCE else " **differs**")


def describe_encoders() -> str:
    """List the kinds of models with an encoder that the tests build."""
    return ", ".join(f"`{kind}`" for kind in ENCODER_DECODERS)


def format_page(rows: list[list[str]]) -> str:
    """Fill the page with the measured rows and the tables of the readers."""
    built = [row for row in rows if not row[1].startswith(("not tried", "refused"))]
    notes = describe_formats()
    places = (("recipe", RECIPE_KEYS), ("slices", SLICE_KEYS), ("parameters", PARAMETER_KEYS))
    keys = [(place, key) for place, table in places for key in table.values()]
    return PAGE.format(
        num_built=len(built),
        num_formats=len(notes),
        versions=f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}",
        machine=platform.machine(),
        date=datetime.date.today(),
        architectures=_table(("model type", *COLUMNS), built),
        encoders=describe_encoders(),
        others=_table(("model type", "why"), [row[:2] for row in rows if row not in built]),
        formats=_table(
            ("format", "fields", "prompt and target", "example"),
            [[each.name, each.keys, each.meaning, f"`{json.dumps(each.example)}`"] for each in notes],
        ),
        keys=_table(
            ("key", "place", "use", "meaning or reason"),
            [[f"`{key.name}`", place, key.use, key.reason] for place, key in keys],
        ),
        methods=_table(
            ("mergekit", "lorary", "options that differ from lorary's defaults"),
            [
                [f"`{name}`", f"`{found.method}`", _list_options({**found.defaults, **found.fixed})]
                for name, found in MERGEKIT.items()
            ],
        ),
    )


def _list_options(values: dict[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items()) or "none"


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(columns), "|" + "---|" * len(columns), *map(line, rows)])


if __name__ == "__main__":
    main()

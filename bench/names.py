"""One batch, each of its sequences with its own expert, by name: prefill and decode."""

from functools import partial
from typing import Any

import torch
from peft import PeftModel

from bench.floors import Aims, Sizes, find_floors
from bench.models import RANK, list_experts, load_bench_base, write_library
from bench.options import Options
from bench.report import Table
from bench.routing import Route, measure_routes
from lorary import Library, load_model


def measure(options: Options) -> list[Table]:
    """Measure a batch of 8 sequences with 8 experts, and of 64 with 64 if ``full``."""
    counts = [2] if options.quick else [8, 64] if options.full else [8]
    tables = []
    with torch.no_grad():
        for count in counts:
            prompt, steps = (16, 2) if options.quick else (128, 16)
            sizes = Sizes(batch=count, prompt=prompt, steps=steps)
            job = f"{count} sequences with {count} experts by name"
            routes = _build_routes(options, count)
            floors = find_floors(
                routes["base"].model, sizes, rank=RANK, top_k=1, experts=count, has_router=False
            )
            tables += measure_routes(routes, job, sizes, options, Aims(1.2, 1.4, *floors))
    return tables


def _build_routes(options: Options, num_experts: int) -> dict[str, Route]:
    base, routed, mixed, alone = (load_bench_base(options.base, options.torch_dtype) for _ in range(4))
    folder = write_library(options, base, num_experts)
    library = Library.open(folder)
    model = load_model(routed, library, router=None)
    names = list(library)

    def answer_by_name(**inputs: Any) -> object:
        with model.assign(names):
            return model.model(**inputs)

    first, *others = list_experts(folder)
    keep = {"autocast_adapter_dtype": False}  # adapters in the base model's dtype, which is faster
    peft_mixed = PeftModel.from_pretrained(mixed.model, first, names[0], **keep)
    for name, place in zip(names[1:], others, strict=True):
        peft_mixed.load_adapter(place, name, **keep)
    peft_alone = PeftModel.from_pretrained(alone.model, first, names[0], **keep)
    return {
        "base": Route(base.model),
        "lorary, by name": Route(answer_by_name),
        "PEFT, by name": Route(partial(peft_mixed.eval(), adapter_names=names)),
        "PEFT, one adapter for all": Route(peft_alone.eval()),
    }

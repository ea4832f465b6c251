"""The time that a base model takes to write the generic text on which experts are calibrated.

    python -m bench.generic_text                                  # the embedded base model
    python -m bench.generic_text --out lorary/facts/written       # writes the texts of the package

Prints whether the text equals that of the package. Sampling may differ on another processor or in
another precision, from the first token for which rounding decides.
"""

import argparse
from pathlib import Path

import torch

from bench.calibrating import clock
from lorary.experts import Expert, Factors
from lorary.facts.generic_text import SETTINGS, write_texts
from lorary.facts.shipped_texts import format_texts, read_shipped_texts
from lorary.models import attach_experts, find_layers, layer_shape, load_base


def main() -> None:
    """Write texts, compare them, and store them if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="Folder to write the texts to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = load_base(options.base, dtype=getattr(torch, options.dtype), device="cpu")
    path, layer = next(iter(find_layers(base.model, "all-linear").items()))
    width_in, width_out = layer_shape(layer)
    nothing = Factors(torch.zeros(1, width_in), torch.zeros(width_out, 1))
    stack = attach_experts(base.model, {"nothing": Expert("nothing", base.name, {path: nothing})})
    written: list[torch.Tensor] = []
    seconds, processor = clock(lambda: written.append(write_texts(base, stack)))
    texts = written[0]
    print(f"{len(texts)} texts of {texts.shape[1]} tokens: {seconds:.1f} s, processor {processor:.1f} s")
    shipped = read_shipped_texts(base.fingerprint, SETTINGS)
    if shipped is None:
        print("no text of this base model comes with the package")
    else:
        alike = int((texts == shipped).all(1).sum())
        print(f"{alike} of {len(texts)} texts equal those that come with the package")
    if options.out is not None:
        (options.out / f"{base.fingerprint}.txt").write_text(format_texts(texts, SETTINGS))


if __name__ == "__main__":
    main()

"""Time to the first token: prompts read under Arrow, and decided and read under the calibrated router.

    python -m bench.first_token --experts 32 --threads 2 --general

Random experts of rank 8 on all linear layers of the embedded base model, float32; sides take turns. "depth"
is the share of the layers from which the calibrated router decides, "tokens" the maximum number of the
prompt's tokens; "deciding" is the time for this alone. "None dropped" runs all kept experts, however small
their weights. Doubtful requests go to a general expert with --general, else to all experts, which then all
run.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch

from bench.models import DECAYING, draw_expert, load_bench_base
from bench.timing import Side, interleave
from lorary import load_model
from lorary.assembly.router import Router

GENERIC = (
    "What is the capital of France?\nAnswer:",
    "Once upon a time there was a small house in the woods.",
)
# Options depth and most_tokens.
CANDIDATES = ((1.0, None), (0.5, None), (0.2, None), (0.1, None), (1.0, 32), (0.5, 32), (0.2, 32), (0.1, 32))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128, help="of the prompt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--general", action="store_true", help="with a general expert as the fallback")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = load_bench_base("smollm2-135m", torch.float32)
    experts = {
        name: draw_expert(name, base, seed=seed, decay=DECAYING, dtype=torch.float32)
        for seed in range(options.experts)
        for name in [f"expert-{seed}"]
    }
    general = None
    if options.general:
        general = draw_expert("general", base, seed=options.experts, decay=DECAYING, dtype=torch.float32)
    model = load_model(base, experts, router=None, general=general)
    prompts = torch.randint(100, 40_000, (1, options.tokens), generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def read(router: Router | None) -> None:
        model(input_ids=prompts, experts=router, use_cache=True, logits_to_keep=1)

    sides: dict[str, Callable[[], None]] = {
        "bare base": partial(read, None),
        "arrow": partial(read, model.router("arrow")),
    }
    for depth, most in CANDIDATES:
        router = model.router("calibrated", generic=GENERIC, depth=depth, most_tokens=most)
        label = f"depth {depth}" + ("" if most is None else f", {most} tokens")
        assert router.decider is not None
        sides[f"calibrated, {label}"] = partial(read, router)
        sides[f"… deciding, {label}"] = partial(router.decider.decide, prompts)
    sides["calibrated, none dropped"] = partial(
        read, model.router("calibrated", generic=GENERIC, depth=0.2, most_tokens=32, min_p=0.0)
    )
    times = interleave({name: Side(run) for name, run in sides.items()}, options.repeats)
    print(f"{options.experts} experts, one prompt of {options.tokens} tokens, {options.threads} threads")
    for name, own in times.items():
        ratios = sorted(one / other for one, other in zip(own.seconds, times["arrow"].seconds, strict=True))
        print(
            f"{name:32} {1000 * own.median:6.0f} ms  {own.median / times['arrow'].median:.2f} x arrow "
            f"[{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        )


if __name__ == "__main__":
    main()

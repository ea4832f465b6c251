"""Arrow prototypes of 32 experts: speed, and accuracy compared with the exact singular vectors.

E experts, R rank, I layer input, O layer output, N pairs of layer and expert.
"""

from collections.abc import Mapping
from statistics import median

import torch
from torch import Tensor

from bench.models import DECAYING, FLAT, draw_expert, load_bench_base
from bench.options import Options
from bench.peft_arrow import PeftPrototypes
from bench.report import Cell, Table
from bench.timing import Side, Times, interleave, ratio, spread_times
from lorary import Expert
from lorary.lowrank import thin_svd
from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.prototypes import library_prototypes

SPECTRA = {"flat": FLAT, "decaying": DECAYING}


def measure(options: Options) -> list[Table]:
    """Measure ``library_prototypes`` against PEFT's power iteration, for flat and for decaying spectra."""
    base = load_bench_base(options.base, torch.float32)
    num_experts, num_layers, num_dense = (4, 14, 7) if options.quick else (32, None, 28)
    tables = []
    for spectrum, decay in SPECTRA.items():
        experts = {
            # float32, as training leaves them.
            f"expert-{seed}": draw_expert(
                f"expert-{seed}", base, seed=seed, decay=decay, dtype=torch.float32, num_layers=num_layers
            )
            for seed in range(num_experts)
        }
        tables.append(_compare(spectrum, experts, num_dense, options.repeats))
    return tables


def _compare(spectrum: str, experts: Mapping[str, Expert], num_dense: int, repeats: int) -> Table:
    peer = PeftPrototypes(experts)
    sides = {
        "lorary": Side(lambda: library_prototypes(experts)),
        "PEFT": Side(peer.compute),
    }
    times = interleave(sides, repeats)
    found = {
        "lorary": {path: prototypes for path, (prototypes, _) in library_prototypes(experts).items()},
        "PEFT": peer.compute(),
    }
    exact = {path: _exact_vectors(experts, path) for path in found["PEFT"]}
    dense = _dense_vectors(experts, num_dense)
    sample = min(abs(float(exact[path][index] @ vector)) for (path, index), vector in dense.items())
    return Table(
        title=f"prototypes of {len(experts)} experts, {len(exact)} layers, {spectrum} spectra",
        rows=[_describe_side(name, times, found[name], exact, dense) for name in sides],
        note="|cos| is the absolute cosine with the exact vector: of all pairs by a thin SVD in float64 "
        f"(whose own cosine with the dense SVD of {len(dense)} pairs is at least {sample:.9f}), and with "
        "that dense SVD. Targets: 10 × PEFT's speed, every |cos| ≥ 0.99999.",
    )


def _describe_side(
    name: str,
    times: Mapping[str, Times],
    found: Mapping[str, Tensor],
    exact: Mapping[str, Tensor],
    dense: Mapping[tuple[str, int], Tensor],
) -> dict[str, Cell]:
    cosines = torch.cat([(found[path].double() * exact[path]).sum(-1).abs() for path in exact])  # [N]
    with_dense = [abs(float(found[path][index].double() @ vector)) for (path, index), vector in dense.items()]
    return {
        "side": name,
        "ms": spread_times(times[name], 1e-3),
        "PEFT's time / this": ratio(times["PEFT"], times[name]),
        "lowest |cos|": float(cosines.min()),
        "1%": float(cosines.quantile(0.01)),
        "10%": float(cosines.quantile(0.1)),
        "median": float(cosines.median()),
        "share ≥ 0.99999": float((cosines >= 0.99999).double().mean()),
        "lowest, dense SVD": min(with_dense),
        "median, dense SVD": median(with_dense),
    }


def _exact_vectors(experts: Mapping[str, Expert], path: str) -> Tensor:
    a, b = pad_ranks([expert.factors[path] for expert in experts.values()])
    return thin_svd(a.double(), b.double())[2][..., 0]  # [E, I]


def _dense_vectors(experts: Mapping[str, Expert], count: int) -> dict[tuple[str, int], Tensor]:
    """Decompose the full product of a few pairs, spread over layers and experts."""
    pairs = [(path, index) for path in next(iter(experts.values())).factors for index in range(len(experts))]
    # A step that has no factor in common with the number of experts meets all of them.
    chosen = [pairs[position] for position in range(0, len(pairs), len(pairs) // count | 1)]
    everyone = list(experts.values())
    found = {}
    for path, index in chosen:
        a, b = everyone[index].factors[path]
        found[path, index] = torch.linalg.svd(b.double() @ a.double(), full_matrices=False)[2][0]
    return found

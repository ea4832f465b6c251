"""The first values of a mixture of experts' routers: random ones, or rows from prototypes or means.

X all experts, E routed ones, G groups, I layer input, Q query, M rows and N columns of a grid.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from lorary.experts.seeds import seed_for
from lorary.models import ExpertStack
from lorary.passes import score_pass
from lorary.passes.split import Pass
from lorary.routing import Choice
from lorary.routing.configs.checks import InputNorm
from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.moe.packed import join
from lorary.routing.moe.scores import normalise_inputs
from lorary.training.objectives.moe_chooser import count_uses, find_decoding

# Standard deviation of random rows, as in the linear layers of most base models.
DEVIATION = 0.02


def start_at_random(widths: Mapping[str, int], form: MoeForm, seed: int) -> dict[str, Tensor]:
    """Draw normal rows with a standard deviation of 0.02.

    Queries of product keys have one of 1, so that their keys get gradients. Gates of shared experts start at
    zero, where they are ½.

    Args:
        widths: module path -> I.
        form: the router's form.
        seed: of the draws.

    Returns:
        Module path -> the layer's parameters, joined.
    """
    starts = {}
    for path, width in widths.items():
        generator = torch.Generator().manual_seed(seed_for(seed, path))
        parts = {name: torch.randn(shape, generator=generator) for name, shape in form.outline(width).items()}
        for name, part in parts.items():
            part.mul_({"query": 1.0, "shared": 0.0}.get(name, DEVIATION))
        starts[path] = join(form, parts)
    return starts


@torch.no_grad()
def start_from_rows(
    stack: ExpertStack,
    passes: Callable[[], Iterable[Pass]],
    form: MoeForm,
    rows: Mapping[str, Tensor],
    *,
    has_signs: bool,
    scale: float,
    seed: int,
) -> dict[str, Tensor]:
    """Make first values from prototypes or mean inputs.

    Rows without a sign, such as prototypes, get the sign of their product with the mean input. Their mean is
    subtracted, which changes no choice and no weight. They are scaled such that, over tokens of the examples,
    scores have a root mean square of ``scale``. A group starts with the mean of its rows. Product keys start
    with the grid of sums that is nearest to the rows, and with its best factors of the query's size.

    Args:
        stack: the experts on the model; the base model alone reads the examples.
        passes: returns passes of some examples, each time from the first.
        form: the router's form.
        rows: module path -> a row for each expert on the model, ``[X, I]``.
        has_signs: whether the rows have signs.
        scale: root mean square of scores.
        seed: of numbers that the rows do not determine.

    Returns:
        Module path -> the layer's parameters, joined.
    """
    places = [stack.index(name) for name in form.experts]
    device = stack.model.device
    own = {path: part[places].float().to(device) for path, part in rows.items() if path in stack.layers}
    if not has_signs:
        means = _read(stack, passes, form.input_norm, lambda path, x: x.sum(0))
        own = {path: part * (1.0 - 2.0 * (part @ means[path] < 0))[:, None] for path, part in own.items()}
    own = {path: part - part.mean(0) for path, part in own.items()}
    squares = _read(stack, passes, form.input_norm, lambda path, x: (x @ own[path].T).square().mean(1).sum(0))
    starts = start_at_random({path: part.shape[1] for path, part in own.items()}, form, seed)
    for path, part in own.items():
        size = float(squares[path]) ** 0.5
        if size > 0:
            starts[path] = _fill(form, (part * (scale / size)).cpu(), seed_for(seed, path))
    return starts


def _read(
    stack: ExpertStack,
    passes: Callable[[], Iterable[Pass]],
    input_norm: InputNorm,
    add: Callable[[str, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Return the mean over all tokens of a sum that ``add`` computes of a layer's normalised inputs."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    decoding = find_decoding(stack)

    class Look:
        def __init__(self, part: Pass):
            self.part = part

        def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
            is_token = count_uses(self.part, rows, is_decoding=path in decoding) > 0
            used = normalise_inputs(x[is_token], input_norm)
            sums[path] = sums.get(path, 0) + add(path, used)
            counts[path] = counts.get(path, 0) + len(used)
            return None

    for part in passes():
        score_pass(stack, part, Look(part))
    # Some layers may have had no token, such as those of a base model's own routed experts.
    return {
        path: sums[path] / counts[path] if counts.get(path) else torch.zeros((), device=stack.model.device)
        for path in stack.layers
    }


def _fill(form: MoeForm, rows: Tensor, seed: int) -> Tensor:
    """Make a layer's parameters from a row for each routed expert, ``[E, I]``."""
    shapes = form.outline(rows.shape[1])
    parts = {name: torch.zeros(shape) for name, shape in shapes.items()}
    if form.kind == "product_keys":
        parts |= _factor(form, rows, seed)
    else:
        parts["rows"] = rows
    if form.groups is not None:
        groups = torch.tensor(form.groups)
        counts = torch.bincount(groups)[:, None]
        parts["groups"] = torch.zeros(shapes["groups"]).index_add_(0, groups, rows) / counts
    return join(form, parts)


def _factor(form: MoeForm, rows: Tensor, seed: int) -> dict[str, Tensor]:
    """Return query and keys of the grid of sums that is nearest to the rows."""
    num_rows, num_columns = form.num_rows, form.num_columns
    cells = torch.tensor(form.cells)
    design = torch.zeros(len(cells), num_rows + num_columns, dtype=torch.float64)
    design[torch.arange(len(cells)), cells // num_columns] = 1
    design[torch.arange(len(cells)), num_rows + cells % num_columns] = 1
    both = torch.linalg.pinv(design) @ rows.double()
    half = form.query_size // 2
    generator = torch.Generator().manual_seed(seed)
    # Directions that no key uses yet are random, so that they can get keys.
    query = torch.randn(form.query_size, rows.shape[1], generator=generator)
    parts = {"query": query}
    for name, table, start in (("first", both[:num_rows], 0), ("second", both[num_rows:], half)):
        u, s, v = torch.linalg.svd(table, full_matrices=False)
        rank = min(half, len(s))
        root = s[:rank].sqrt()
        parts[name] = torch.zeros(len(table), half)
        parts[name][:, :rank] = (u[:, :rank] * root).float()
        query[start : start + rank] = (root[:, None] * v[:rank]).float()
    return parts

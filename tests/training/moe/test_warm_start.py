"""Rows that routers begin with."""

import pytest
import torch

from lorary.routing.moe.scores import split_parameters
from lorary.training import train_moe
from tests.training.moe.cases import CASES, draw_rows, make_config


@pytest.mark.parametrize("case", ["linear", "kept groups"])
def test_a_warm_start_scores_like_its_prototypes(base, tmp_path, examples, experts, case):
    """With as good as no learning rate, each token keeps the experts that its signed prototypes prefer."""
    start = draw_rows(base)
    config = make_config(
        {"max_steps": 1}, warm_start="means", start_scale=3.0, router_learning_rate=1e-12, **CASES[case]
    )
    router = train_moe(base, experts, examples, config, tmp_path / "run", start=start).router
    for path, joined in router.layers.items():
        width = start[path].shape[1]
        rows = joined[: 5 * width].view(5, width)
        centred = start[path] - start[path].mean(0)
        cosines = torch.nn.functional.cosine_similarity(rows, centred)
        torch.testing.assert_close(cosines, torch.ones(5))
        ratios = rows.norm(dim=1) / centred.norm(dim=1)
        torch.testing.assert_close(ratios, ratios[:1].expand(5))


def test_prototypes_get_signs_and_product_keys_the_nearest_sums(base, tmp_path, examples, experts):
    start = draw_rows(base)
    flipped = {path: -own for path, own in start.items()}
    config = make_config(
        {"max_steps": 1},
        warm_start="prototypes",
        kind="product_keys",
        query_size=16,
        router_learning_rate=1e-12,
    )
    one, other = (
        train_moe(base, experts, examples, config, tmp_path / str(number), start=rows).router
        for number, rows in enumerate((start, flipped))
    )
    form = one.form
    for path, joined in one.layers.items():
        torch.testing.assert_close(joined, other.layers[path])
        parts = split_parameters(form, joined, start[path].shape[1])
        table = [
            parts[half] @ query
            for half, query in (("first", parts["query"][:8]), ("second", parts["query"][8:]))
        ]
        sums = torch.stack(
            [table[0][c // form.num_columns] + table[1][c % form.num_columns] for c in form.cells]
        )
        # The nearest sums leave a rest without sums of rows or of columns.
        signs = torch.sign((sums * start[path]).sum(1))
        assert set(signs.tolist()) <= {1.0, -1.0}

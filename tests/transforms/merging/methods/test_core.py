import pytest
import torch

from lorary.transforms.merging.methods.core import CoreConfig, merge_core
from lorary.transforms.merging.methods.plain import PLAIN


def dense_core(d, merge):
    """Merge dense cores in the singular bases of all matrices stacked, and bring them back."""
    _, s, vh = torch.linalg.svd(torch.cat(list(d)), full_matrices=False)
    right = vh[: int((s > 1e-9 * s[0]).sum())].mT
    u, s, _ = torch.linalg.svd(torch.cat(list(d), 1), full_matrices=False)
    left = u[:, : int((s > 1e-9 * s[0]).sum())]
    return left @ merge(left.mT @ d @ right) @ right.mT


@pytest.mark.parametrize("density", [0.3, 1.0])
def test_ties_inside_equals_ties_on_dense_cores(layer, deltas, dense, dense_agree, dense_trim, density):
    expected = dense_core(
        deltas(layer), lambda cores: dense_agree(dense_trim(cores, [density] * 3), layer.weights)
    )
    change = merge_core(layer, CoreConfig(options={"density": density}))
    torch.testing.assert_close(dense(change), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "inner", ["linear", "cat", "task_arithmetic", "tsv", "iso", "iso_cts", "wudi", "subtract"]
)
def test_methods_that_see_no_single_entries_give_what_they_give_without(make_layer, dense, inner):
    layer = make_layer((20, 14), ranks=(3, 2, 4), weights=(1.0, 1.0, 1.0))
    alone = PLAIN[inner].merge(layer, PLAIN[inner].config())
    torch.testing.assert_close(
        dense(merge_core(layer, CoreConfig(inner=inner))), dense(alone), rtol=1e-5, atol=1e-6
    )


def test_options_of_the_inner_method_are_checked():
    with pytest.raises(ValueError, match="merging by 'tsv': unknown option 'density': known are num_vectors"):
        CoreConfig(inner="tsv", options={"density": 0.2})


@pytest.mark.parametrize("inner", ["core", "regmean", "teis"])
def test_what_cannot_be_inside_is_refused(inner):
    with pytest.raises(ValueError, match=f"inner must be a method that core can use, found '{inner}'"):
        CoreConfig(inner=inner)

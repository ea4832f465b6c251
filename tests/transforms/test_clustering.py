import numpy as np
import pytest
import torch

from lorary.errors import FormatError, IncompatibleExpert, UnknownExpert
from lorary.experts import Expert, Factors
from lorary.transforms import cluster_experts, expert_similarity
from lorary.transforms.clustering import center_similarity
from lorary.transforms.sparse_similarity import compute_threshold, sparse_similarity

METHODS = ("cosine", "mbc")
SHAPES = {"layers.0.q": (6, 10), "layers.0.up": (12, 10), "layers.1.q": (6, 10)}


def draw_family(name, kin, noise=0.3, rank=2, shared=0.0):
    """An expert that is its family's weights and a little of its own; ``shared`` is in all families."""
    own = torch.Generator().manual_seed(sum(map(ord, name)))
    family = torch.Generator().manual_seed(kin)
    everyone = torch.Generator().manual_seed(99)
    factors = {}
    for path, (outputs, inputs) in SHAPES.items():
        a = torch.randn(rank, inputs, generator=family) + noise * torch.randn(rank, inputs, generator=own)
        b = torch.randn(outputs, rank, generator=family) + noise * torch.randn(outputs, rank, generator=own)
        common_a = torch.randn(1, inputs, generator=everyone)
        common_b = shared * torch.randn(outputs, 1, generator=everyone)
        factors[path] = Factors(torch.cat([a, common_a]), torch.cat([b, common_b], dim=1))
    return Expert(name, "base", factors)


@pytest.fixture
def families():
    """Seven experts of three families of 3, 2 and 2, in no order."""
    kin = {"a1": 1, "b1": 2, "c1": 3, "a2": 1, "b2": 2, "c2": 3, "a3": 1}
    return {name: draw_family(name, seed) for name, seed in kin.items()}


def sort_members(found):
    return sorted(tuple(sorted(members)) for members in found.members)


@pytest.mark.parametrize("method", METHODS)
def test_families_are_found_and_how_many_there_are(families, method):
    found = cluster_experts(families, method)
    assert found.members == (("a1", "a2", "a3"), ("b1", "b2"), ("c1", "c2"))
    assert list(found.silhouettes) == [2, 3, 4, 5, 6]
    assert max(found.silhouettes, key=found.silhouettes.get) == 3


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_experts_does_not_matter(families, method):
    turned = dict(reversed(families.items()))
    assert sort_members(cluster_experts(turned, method)) == sort_members(cluster_experts(families, method))


def test_how_experts_are_factored_does_not_matter(families):
    def turn(expert, name):
        drawn = torch.Generator().manual_seed(len(name))
        factors = {}
        for path, (a, b) in expert.factors.items():
            mixing = torch.randn(len(a), len(a), generator=drawn) + 3 * torch.eye(len(a))
            factors[path] = Factors(torch.linalg.inv(mixing) @ a, b @ mixing)
        return Expert(name, "base", factors)

    other = {name: turn(expert, name) for name, expert in families.items()}
    found, expected = cluster_experts(other), cluster_experts(families)
    assert found.members == expected.members
    np.testing.assert_allclose(found.similarity, expected.similarity, atol=1e-4)


def test_what_all_experts_share_does_not_put_them_together():
    """With a great common part all cosines are near 1, and the families only show without it."""
    experts = {
        name: draw_family(name, kin, shared=8.0) for name, kin in {"a1": 1, "b1": 2, "a2": 1, "b2": 2}.items()
    }
    plain = expert_similarity(experts)
    assert plain.min() > 0.8
    found = cluster_experts(experts, num_clusters=2)
    assert found.members == (("a1", "a2"), ("b1", "b2"))
    assert found.similarity[0, 2] > 0.5 > 0 > found.similarity[0, 1]


def test_centering_is_that_of_the_vectors_themselves():
    vectors = (
        torch.randn(5, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).numpy() + 0.7
    )
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, points = center_similarity(units @ units.T)
    less = units - units.mean(0)
    expected = less / np.linalg.norm(less, axis=1, keepdims=True)
    np.testing.assert_allclose(cosines, expected @ expected.T, atol=1e-12)
    np.testing.assert_allclose(points @ points.T, expected @ expected.T, atol=1e-12)


def test_equal_experts_have_nothing_apart(families):
    same = dict.fromkeys("abc", families["a1"])
    with pytest.raises(ValueError, match="the number of different experts, 1 of 3, found 2"):
        cluster_experts(same, num_clusters=2)
    assert cluster_experts(same).members == (("a", "b", "c"),)


def test_the_number_of_clusters_can_be_given(families):
    assert [len(group) for group in cluster_experts(families, num_clusters=1).members] == [7]
    assert [len(group) for group in cluster_experts(families, num_clusters=7).members] == [1] * 7
    assert cluster_experts(families, num_clusters=7).silhouettes == {}
    assert list(cluster_experts(families, num_clusters=3).silhouettes) == [3]


def test_two_experts_are_one_cluster_or_two(families):
    two = {name: families[name] for name in ("a1", "b1")}
    assert cluster_experts(two).members == (("a1", "b1"),)
    assert cluster_experts(two, num_clusters=2).members == (("a1",), ("b1",))


def test_experts_can_be_chosen_and_progress_followed(families):
    seen = []
    found = cluster_experts(
        families, "mbc", names=["c1", "a1", "c2"], on_progress=lambda done, total: seen.append((done, total))
    )
    assert found.names == ("c1", "a1", "c2")
    assert found.members == (("c1", "c2"), ("a1",))
    assert seen == [(step, 6) for step in range(1, 7)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"method": "dbscan"}, "method must be one of 'cosine', 'mbc', found 'dbscan'"),
        ({"num_clusters": 0}, "num_clusters must be between 1 and the number of experts, 7, found 0"),
        ({"num_clusters": 8}, "num_clusters must be between 1 and the number of experts, 7, found 8"),
        ({"max_clusters": 1}, "max_clusters must be at least 2, found 1"),
        ({"names": ["a1"]}, "clusters need at least 2 experts, found 1"),
        ({"names": []}, "at least one expert is needed, found none"),
    ],
)
def test_bad_options_are_refused(families, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        cluster_experts(families, **options)


@pytest.mark.parametrize("method", METHODS)
def test_experts_that_do_not_belong_together_are_refused(families, method):
    with pytest.raises(UnknownExpert):
        cluster_experts(families, method, names=["a1", "zzz"])
    stranger = Expert("s", "another", dict(families["a1"].factors))
    with pytest.raises(IncompatibleExpert):
        cluster_experts({**families, "s": stranger}, method)
    a, b = families["a1"].factors["layers.0.q"]
    broken = Expert("n", "base", {**families["a1"].factors, "layers.0.q": Factors(a * float("nan"), b)})
    with pytest.raises(FormatError, match="NaN"):
        cluster_experts({**families, "n": broken}, method)


class TestSparseSimilarity:
    """The paper's recipe, against the same on one dense matrix."""

    def dense(self, experts, density, dimensions):
        rows = []
        for expert in experts.values():
            parts = [expert.factors[path] for path in SHAPES]
            row = torch.cat([part.double().flatten() for a, b in parts for part in (a, b)]).numpy()
            least = np.sort(np.abs(row))[::-1][max(1, round(density * len(row))) - 1]
            rows.append(np.where(np.abs(row) >= least, row, 0))
        left, singular, _ = np.linalg.svd(np.stack(rows), full_matrices=False)
        points = (left * singular)[:, :dimensions]
        units = points / np.linalg.norm(points, axis=1, keepdims=True)
        return units @ units.T

    @pytest.mark.parametrize(("density", "dimensions"), [(0.2, 64), (1.0, 64), (0.2, 3), (0.5, 1)])
    def test_it_is_the_dense_recipe(self, families, density, dimensions):
        found = sparse_similarity(families, density=density, dimensions=dimensions)
        np.testing.assert_allclose(found, self.dense(families, density, dimensions), atol=1e-5)

    def test_a_lower_rank_is_filled_up_with_zeros(self, families):
        cut = {path: Factors(a[:2], b[:, :2]) for path, (a, b) in families["a2"].factors.items()}
        padded = {
            path: Factors(torch.cat([a[:2], 0 * a[2:]]), torch.cat([b[:, :2], 0 * b[:, 2:]], dim=1))
            for path, (a, b) in families["a2"].factors.items()
        }
        first = sparse_similarity({**families, "a2": Expert("a2", "base", cut)}, density=0.999)
        second = sparse_similarity({**families, "a2": Expert("a2", "base", padded)}, density=0.999)
        torch.testing.assert_close(first, second)

    def test_as_many_numbers_count_as_were_asked_for(self, families):
        sizes = torch.cat([part.abs().flatten() for pair in families["a1"].factors.values() for part in pair])
        for density in (0.1, 0.2, 0.75, 1.0):
            threshold = compute_threshold(families["a1"], density)
            assert (sizes >= threshold).sum() == round(density * len(sizes))

    def test_an_expert_that_changes_nothing_is_like_no_other(self, families):
        nothing = {path: Factors(0 * a, 0 * b) for path, (a, b) in families["a1"].factors.items()}
        found = sparse_similarity({"none": Expert("none", "base", nothing), **families})
        assert found[0].tolist() == [1.0] + [0.0] * 7

    @pytest.mark.parametrize("options", [{"density": 0}, {"density": 1.5}, {"dimensions": 0}])
    def test_options_out_of_range_are_refused(self, families, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            sparse_similarity(families, **options)

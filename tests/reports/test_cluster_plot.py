import numpy as np
import pytest

from lorary.reports.cluster_plot import map_experts, plot_clusters

NAMES = [f"expert {number}" for number in range(9)]
MEMBERS = [NAMES[::3], NAMES[1::3], NAMES[2::3]]


def make_similarity(inside):
    """Nine experts; each third is of one kind."""
    kinds = np.arange(9) % 3
    similarity = np.where(kinds[:, None] == kinds, inside, 0.0)
    np.fill_diagonal(similarity, 1.0)
    return similarity


def test_a_picture_is_written(tmp_path):
    plot_clusters(tmp_path / "new" / "clusters.png", NAMES, make_similarity(0.8), MEMBERS)
    assert (tmp_path / "new" / "clusters.png").read_bytes().startswith(b"\x89PNG")


def test_on_the_map_like_experts_lie_together():
    places = map_experts(make_similarity(0.95))
    distance = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert [int(nearest) % 3 for nearest in distance.argmin(1)] == [number % 3 for number in range(9)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_experts_have_places_too(count, tmp_path):
    similarity = make_similarity(0.5)[:count, :count]
    places = map_experts(similarity)
    assert places.shape == (count, 2)
    assert len(np.unique(places.round(3), axis=0)) == count
    plot_clusters(tmp_path / "x.png", NAMES[:count], similarity, [NAMES[:count]])


def test_names_that_would_be_formulas_and_many_clusters_can_be_drawn(tmp_path):
    names = [f"a$b_{number}$" for number in range(100)]
    plot_clusters(tmp_path / "x.png", names, np.eye(100), [[name] for name in names])
    assert (tmp_path / "x.png").exists()


def test_clusters_must_hold_each_expert_once(tmp_path):
    for members in (MEMBERS[:2], [*MEMBERS, NAMES[:1]]):
        with pytest.raises(ValueError, match="each expert once"):
            plot_clusters(tmp_path / "x.png", NAMES, make_similarity(0.5), members)
    assert not (tmp_path / "x.png").exists()

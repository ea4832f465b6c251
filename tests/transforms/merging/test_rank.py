import pytest
import torch

from lorary.lowrank import thin_svd
from lorary.transforms.merging.layer import LowRank
from lorary.transforms.merging.rank import RankRule, cut, read_rank


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, RankRule(kind="kept")),
        ("kept", RankRule(kind="kept")),
        ("full", RankRule(kind="full")),
        (8, RankRule(kind="rank", rank=8)),
        ("8", RankRule(kind="rank", rank=8)),
        ("99%", RankRule(kind="energy", energy=0.99)),
        ("99.5%", RankRule(kind="energy", energy=0.995)),
        ("100 %", RankRule(kind="energy", energy=1.0)),
    ],
)
def test_a_rank_is_understood(text, expected):
    assert read_rank(text) == expected


def test_nothing_said_may_mean_the_full_rank():
    assert read_rank(None, keeps_full_rank=True).kind == "full"
    assert read_rank("kept", keeps_full_rank=True).kind == "kept"


@pytest.mark.parametrize("rank", [0, -3, 2.5, True, "", "many", "0%", "101%", "x%", 0.99])
def test_what_is_no_rank_is_refused(rank):
    with pytest.raises(ValueError, match=r"rank must be a whole number of at least 1.*, found "):
        read_rank(rank)


@pytest.mark.parametrize("form", ["factors", "dense", "sorted"])
@pytest.mark.parametrize(
    ("rule", "rank"),
    [
        (RankRule(kind="kept"), 4),
        (RankRule(kind="rank", rank=2), 2),
        (RankRule(kind="energy", energy=0.9), None),
    ],
)
def test_every_form_of_a_change_is_cut_alike(form, rule, rank):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((9, 30), (20, 9)))
    u, s, v = thin_svd(a, b)
    changes = {"factors": LowRank(a, b), "dense": b @ a, "sorted": LowRank(v.mT, u * s, is_sorted=True)}
    kept = rank or int((s.square().cumsum(0) / s.square().sum() < 0.9).sum()) + 1
    found = cut(changes[form], rule, largest=4)
    assert len(found.a) == kept
    torch.testing.assert_close(found.b @ found.a, (u * s)[:, :kept] @ v.mT[:kept], rtol=1e-6, atol=1e-7)
    assert found.error == pytest.approx((s[kept:].norm() / s.norm()).item(), abs=1e-7)


def test_the_full_rank_cuts_nothing():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((9, 30), (20, 9)))
    factors = cut(LowRank(a, b), RankRule(kind="full"), largest=4)
    assert factors.a is a and factors.b is b and factors.error == 0
    dense = cut(b @ a, RankRule(kind="full"), largest=4)
    torch.testing.assert_close(dense.b @ dense.a, b @ a)
    assert dense.error < 1e-12 and len(dense.a) == 20


def test_equally_strong_directions_are_cut_in_their_order():
    a, b = torch.eye(6)[:4], 2 * torch.eye(5)[:, :4]
    found = cut(LowRank(a, b, is_sorted=True), RankRule(kind="rank", rank=3), largest=4)
    assert torch.equal(found.a, a[:3]) and torch.equal(found.b, b[:, :3])
    assert found.error == pytest.approx(0.5)
    assert cut(LowRank(0 * a, b, is_sorted=True), RankRule(kind="energy", energy=0.9), largest=4).error == 0

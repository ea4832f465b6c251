import re

import numpy as np
import pytest

from lorary.reports.dendrogram import draw_dendrogram, link_experts, order_leaves

# Two pairs, the first closer than the second, and nothing between them.
PAIRS = np.array([[1, 0, 0.9, 0], [0, 1, 0, 0.5], [0.9, 0, 1, 0], [0, 0.5, 0, 1]])


def test_the_most_alike_are_joined_first_at_one_less_their_cosine():
    links = link_experts(PAIRS)
    assert {frozenset(map(int, link[:2])) for link in links[:2]} == {frozenset((0, 2)), frozenset((1, 3))}
    assert links[:, 2] == pytest.approx([0.1, 0.5, 1.0])


def test_a_group_is_as_near_as_the_mean_of_its_pairs():
    similarity = np.array([[1, 0.9, 0.2], [0.9, 1, 0.4], [0.2, 0.4, 1]])
    assert link_experts(similarity)[-1, 2] == pytest.approx(1 - 0.3)


def test_alike_experts_stand_side_by_side():
    order = order_leaves(link_experts(PAIRS))
    assert sorted(order) == [0, 1, 2, 3]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset((0, 2)), frozenset((1, 3))}


def test_cosines_that_rounding_left_above_one_do_no_harm():
    links = link_experts(np.array([[1.0, 1.0000002], [1.0000002, 1.0]]))
    assert links[0, 2] == 0
    assert "nan" not in draw_dendrogram(links, ["a", "b"])


def test_the_picture_has_a_joint_less_than_leaves_and_every_name_once_escaped():
    page = draw_dendrogram(link_experts(PAIRS), ["dates", "morse", "<i>", "x" * 60])
    assert page.count("<polyline") == 3
    assert re.findall(r"<title>([^<]*)</title>", page) != []
    assert sorted(re.findall(r"<title>([^<]*)</title>", page)) == sorted(
        ["dates", "morse", "&lt;i&gt;", "x" * 60]
    )
    assert "…" in page


def test_the_axis_is_in_cosines():
    page = draw_dendrogram(link_experts(PAIRS), list("abcd"))
    assert re.findall(r'middle">([\d.]+)<', page) == ["0.90", "0.60", "0.30", "0.00"]


def test_cosines_that_lie_close_together_are_told_apart():
    similarity = np.array([[1, 0.02, 0.01], [0.02, 1, 0.01], [0.01, 0.01, 1]])
    page = draw_dendrogram(link_experts(similarity), list("abc"))
    assert re.findall(r'middle">([\d.]+)<', page) == ["0.020", "0.017", "0.013", "0.010"]

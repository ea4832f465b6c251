import re

import pytest

from lorary.reports.entropy_chart import HEIGHT, entropy_chart


def test_bars_are_in_proportion_and_say_what_they_are():
    page = entropy_chart({"0": 1.0, "1": 0.5, "2": 0.0})
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"><title>', page)]
    assert heights == pytest.approx([HEIGHT, HEIGHT / 2, 0])
    assert "1: 0.50 nats, the entropy of 1.6 equal shares" in page


def test_a_router_that_is_always_sure_can_be_drawn_too():
    assert "nan" not in entropy_chart({"0": 0.0})

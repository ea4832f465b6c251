import pytest
from transformers.utils import logging

from lorary.models.quiet import without_progress_bars


@pytest.fixture(autouse=True)
def keep_setting():
    shown = logging.is_progress_bar_enabled()
    yield
    (logging.enable_progress_bar if shown else logging.disable_progress_bar)()


@pytest.mark.parametrize("change", [logging.enable_progress_bar, logging.disable_progress_bar])
def test_bars_are_off_within_and_as_before_after_it_even_by_an_error(change):
    change()
    before, within = logging.is_progress_bar_enabled(), []

    def load():
        with without_progress_bars():
            within.append(logging.is_progress_bar_enabled())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        load()
    assert within == [False]
    assert logging.is_progress_bar_enabled() == before

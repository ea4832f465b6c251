import sys

import pytest
from tqdm.auto import tqdm
from transformers.utils import logging

from lorary.models.quiet import without_conversion_bar, without_progress_bars


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


def test_bars_that_heed_no_switch_are_left_out_and_other_text_stays(capsys):
    with without_conversion_bar():
        for _ in tqdm(range(3), desc="Converting"):
            pass
        print("a warning", file=sys.stderr)
    print("after it", file=sys.stderr)
    assert capsys.readouterr().err == "a warning\nafter it\n"

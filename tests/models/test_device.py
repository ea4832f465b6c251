import pytest
import torch

from lorary.models import load_base
from lorary.models.device import choose_device


def test_a_device_of_this_machine_is_taken():
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
    assert choose_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("device", ["foo", "cuda:99", "meta", "", "cpu\n", 3.5])
def test_another_is_refused_in_one_line_before_a_model_is_read(device, monkeypatch):
    monkeypatch.setattr("lorary.models.base.load_embedded", lambda plan: pytest.fail("read"))
    with pytest.raises(
        ValueError, match="device must be a device of this machine, such as cpu or cuda:1, found"
    ) as error:
        load_base(device=device)
    assert "\n" not in str(error.value) and len(str(error.value)) < 350

import pytest

from lorary.transforms.merging.methods.core import CoreConfig
from lorary.transforms.merging.methods.ties import TiesConfig
from lorary.transforms.merging.options import build_config


def test_options_become_a_configuration():
    assert build_config("ties", TiesConfig, {"density": 0.4}) == TiesConfig(density=0.4)


def test_options_of_an_inner_method_may_stand_beside_it():
    flat = build_config("core", CoreConfig, {"inner": "della", "density": 0.4, "options": {"seed": 3}})
    assert flat == CoreConfig(inner="della", options={"density": 0.4, "seed": 3})


def test_all_faults_are_reported_with_the_nearest_names():
    with pytest.raises(ValueError, match="merging by") as caught:
        build_config("ties", TiesConfig, {"densty": 0.2, "sclae": 1.0, "normalize": 3})
    assert str(caught.value) == (
        "merging by 'ties': unknown option 'densty': did you mean 'density'?; unknown option "
        "'sclae': did you mean 'scale' or 'rescale'?; normalize must be true or false, found 3"
    )

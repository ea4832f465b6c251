import pytest
import torch

from lorary.transforms.merging.methods.task_arithmetic import TaskArithmeticConfig, merge_task_arithmetic


def test_the_scaled_sum_equals_the_dense_one(make_layer, deltas, dense):
    layer = make_layer(weights=(1.0, 1.0, 0.5))
    d = deltas(layer)
    change = merge_task_arithmetic(layer, TaskArithmeticConfig(scale=0.3))
    torch.testing.assert_close(dense(change), 0.3 * (d[0] + d[1] + 0.5 * d[2]))


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (float("nan"), "scale must be a finite number, found nan"),
        ("big", "scale must be a number, found 'big'"),
    ],
)
def test_a_scale_that_is_no_number_is_refused(scale, message):
    with pytest.raises(ValueError, match=message):
        TaskArithmeticConfig(scale=scale)

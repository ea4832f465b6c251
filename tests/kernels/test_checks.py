"""What operators refuse, and how they say it; `test_hostile_tensors.py` draws many more such calls."""

import os
import subprocess
import sys

import pytest
import torch

from lorary.kernels import cpu, traced
from lorary.kernels.checks import check_choice, lay_out
from lorary.kernels.cpu import is_compiled_for
from lorary.kernels.triton_modules import is_triton_for, load_triton

TOKENS, EXPERTS, RANK, INPUTS, OUTPUTS, TOP_K = 7, 5, 3, 6, 11, 2


@pytest.fixture(params=["cpu", "triton"])
def operators(request):
    if not {"cpu": is_compiled_for, "triton": is_triton_for}[request.param](torch.zeros(1)):
        pytest.skip("needs a C++ compiler, or Triton's interpreter")
    return cpu if request.param == "cpu" else load_triton()


def draw(*size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(0))


def make_mix(**changes):
    indices = torch.randint(EXPERTS, (TOKENS, TOP_K), generator=torch.Generator().manual_seed(1))
    given = {
        "x": draw(TOKENS, INPUTS),
        "a": draw(EXPERTS, RANK, INPUTS),
        "b_t": draw(EXPERTS, RANK, OUTPUTS),
        "indices": indices,
        "weights": draw(TOKENS, TOP_K),
        "onto": draw(TOKENS, OUTPUTS),
        "combine": "outputs",
        "ranks": torch.full((EXPERTS,), RANK),
    }
    return {**given, **changes}.values()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"ranks": torch.full((EXPERTS,), RANK, dtype=torch.int32)},
            r"ranks \[E\] int64 .*; found .*ranks \[5\] int32",
        ),
        (
            {"indices": torch.zeros(TOKENS, TOP_K)},
            r"indices \[T, K\] int64.*; found .*indices \[7, 2\] float32",
        ),
        ({"weights": draw(1, TOP_K)}, r"weights \[T, K\] float32.*; found .*weights \[1, 2\] float32"),
        ({"weights": draw(TOKENS, TOP_K).double()}, r"found .*weights \[7, 2\] float64"),
        ({"b_t": draw(EXPERTS, OUTPUTS, RANK)}, r"b_t \[E, R, O\].*; found .*b_t \[5, 11, 3\] float32"),
        ({"onto": draw(TOKENS, OUTPUTS).bfloat16()}, r"found .*onto \[7, 11\] bfloat16"),
        ({"onto": draw(1, OUTPUTS)}, r"found .*onto \[1, 11\] float32"),
        ({"a": draw(EXPERTS, RANK, INPUTS + 1)}, r"found x \[7, 6\] float32, a \[5, 3, 7\] float32"),
        ({"x": draw(*[1] * 40)}, r"found x \[1, 1, .*….*\] float32"),
        ({"combine": "both" * 1000}, r"combine must be one of \('outputs', 'factors'\), not 'both"),
    ],
)
def test_what_does_not_fit_is_told_with_what_does(operators, changes, told):
    with pytest.raises(ValueError, match=told) as caught:
        operators.mix_rows(*make_mix(**changes))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "value", [None, 3, "x" * 10_000, [[1.0]], draw(TOKENS, INPUTS).numpy()], ids=lambda v: type(v).__name__
)
def test_what_is_no_tensor_is_told(operators, value):
    with pytest.raises(
        TypeError, match=r"mix_rows takes x \[T, I\].*; found x a '(NoneType|int|str|list|ndarray)', a"
    ):
        operators.mix_rows(*make_mix(x=value))


def test_ranks_of_32_bits_are_not_read_as_64(operators):
    """Two of them were taken for one number, and experts lost their numbers silently."""
    with pytest.raises(ValueError, match="ranks"):
        operators.mix_rows(*make_mix(ranks=torch.full((EXPERTS,), RANK, dtype=torch.int32)))


@pytest.mark.parametrize("number", [-1, EXPERTS, 2**32, 2**62, -(2**63), 2**63 - 1])
def test_an_index_of_no_expert_is_refused_by_every_operator(number):
    """Only mixing looked at indices; gradients followed them anywhere."""
    if not is_compiled_for(torch.zeros(1)):
        pytest.skip("needs a C++ compiler")
    x, a, b_t, indices, *_ = make_mix()
    indices[3, 1] = number
    weighed = draw(TOKENS, TOP_K, RANK)
    for call in (
        lambda: cpu.mix_rows(*make_mix(indices=indices)),
        lambda: cpu.mix_rows_kept(*make_mix(indices=indices)),
        lambda: cpu.shrink_rows(x, a, indices),
        lambda: cpu.expand_rows(weighed, b_t, indices),
        lambda: cpu.gather_rows(weighed, x, indices, EXPERTS),
    ):
        with pytest.raises(IndexError, match=r"indices must be in \[0, 5\), the number of experts"):
            call()


@pytest.mark.parametrize(
    "number", [-1, RANK + 1, 2**32, 2**32 + 1, -(2**32) + 2**31 - 1, 2**63 - 1, -(2**63)]
)
def test_a_rank_that_there_is_not_reads_nothing(operators, number):
    """Triton's operators read on behind the last expert."""
    ranks = torch.full((EXPERTS,), RANK)
    ranks[-1] = number
    given = dict(zip(("x", "a", "b_t", "indices", "weights", "onto", "combine"), make_mix(), strict=False))
    behind = [torch.full((EXPERTS + 4, *given[name].shape[1:]), torch.nan) for name in ("a", "b_t")]
    for name, longer in zip(("a", "b_t"), behind, strict=True):
        longer[:EXPERTS] = given[name]
        given[name] = longer[:EXPERTS]
    given["indices"][0] = EXPERTS - 1
    if operators is cpu:
        with pytest.raises(ValueError, match=r"ranks must be in \[0, 3\], the rank of the factors"):
            operators.mix_rows(*given.values(), ranks)
    else:
        assert operators.mix_rows(*given.values(), ranks).isfinite().all()


def test_an_unknown_expert_gives_zeros_in_rank_space_and_never_old_memory(operators, monkeypatch):
    """Many pairs at once left what was in memory before."""
    if operators is cpu:
        pytest.skip("refuses")
    x, a, _, indices, *_ = make_mix()
    indices[3, 1], indices[4, 0] = -1, EXPERTS
    for few in (0, 10**9):
        monkeypatch.setattr(operators, "FEW_PAIRS", few)
        shrunk = operators.shrink_rows(x, a, indices)
        assert not shrunk[3, 1].any()
        assert not shrunk[4, 0].any()
        assert shrunk[3, 0].all()


@pytest.mark.parametrize(
    ("top_k", "temperature", "abstain", "told"),
    [
        (0, 1.0, None, "top_k must be between 1 and the number of experts, 4, found 0"),
        (5, 1.0, None, "top_k must be between 1 and the number of experts, 4, found 5"),
        (10**4000, 1.0, None, "found <integer of"),
        (2, 0.0, None, "temperature must be above 0, found 0.0"),
        (2, torch.nan, None, "temperature must be above 0, found nan"),
        (2, 1.0, torch.inf, "abstain must be finite, or None, found inf"),
        (2, 1.0, torch.nan, "abstain must be finite, or None, found nan"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(operators, top_k, temperature, abstain, told):
    for call in (
        lambda: operators.choose_best(draw(3, 4), top_k, temperature, abstain),
        lambda: operators.choose_along(draw(3, 6), draw(4, 6), top_k, temperature, abstain),
    ):
        with pytest.raises(ValueError, match=told):
            call()


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # of Triton's interpreter
@pytest.mark.parametrize("temperature", [1e-300, 1e-38, 1.0, 1e300, torch.inf, 10**400], ids=range(6))
@pytest.mark.parametrize("abstain", [None, 1e300, -1e300, 10**400, 0], ids=range(5))
def test_no_option_makes_a_weight_that_is_no_number(operators, temperature, abstain):
    """An abstain of 1e300 gave NaN."""
    for scores in (draw(3, 4), torch.full((3, 4), torch.nan), torch.full((3, 4), 3e38), torch.zeros(3, 4)):
        indices, weights = operators.choose_best(scores, 2, temperature, abstain)
        assert all(sorted(set(row)) == sorted(row) for row in indices.tolist())
        assert ((weights >= 0) & (weights <= 1)).all()
        if abstain == 1e300 and temperature == 1.0 and scores[0, 0].abs() < 10:
            assert not weights.any()


def test_options_are_kept_within_what_float32_holds():
    assert check_choice(4, 2, 0.5, 3.0) == (0.5, 6.0)
    assert check_choice(4, 2, 0.5, None) == (0.5, 0.0)
    assert torch.tensor(check_choice(4, 2, 1e-300, -1e300)).isfinite().all()


def test_a_graph_refuses_what_the_operators_refuse():
    if not is_compiled_for(torch.zeros(1)):
        pytest.skip("needs a C++ compiler")
    nodes = traced.OPERATORS["cpu"]
    with pytest.raises(ValueError, match="mix_rows takes"):
        nodes.mix_rows(*make_mix(weights=draw(1, TOP_K)))
    with pytest.raises(ValueError, match="top_k must be between"):
        nodes.choose_best(draw(3, 4), 5, 1.0, None)
    with pytest.raises(ValueError, match="choose_along takes"):
        nodes.choose_along(draw(3, 6), draw(4, 7), 2, 1.0, None)


@pytest.mark.parametrize(
    "tensor",
    [draw(3, 4).to_sparse(), draw(3, 4).to("meta"), torch._efficientzerotensor((3, 4))],
    ids=["sparse", "meta", "zero"],
)
def test_what_has_no_numbers_at_an_address_is_refused(tensor):
    with pytest.raises(ValueError, match="plain tensors"):
        lay_out(tensor, torch.device("cpu"))


def test_a_tensor_whose_memory_was_taken_is_refused(operators):
    x = draw(TOKENS, INPUTS)
    x.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="memory was freed"):
        operators.mix_rows(*make_mix(x=x))


def test_sizes_beside_a_zero_cost_neither_time_nor_memory():
    """A stack of 2^40 experts of rank 0 takes no memory; a list of its experts would."""
    if not is_compiled_for(torch.zeros(1)):
        pytest.skip("needs a C++ compiler")
    many = 2**40
    indices = torch.full((2, 3), many - 1)
    onto = draw(2, 5)
    empty = draw(many, 0, 4), draw(many, 0, 5)
    found = cpu.mix_rows(draw(2, 4), *empty, indices, draw(2, 3), onto, "outputs")
    assert torch.equal(found, onto)
    assert cpu.shrink_rows(draw(many, 0), draw(1, 0, 0), draw(many, 0).long()).shape == (many, 0, 0)
    assert cpu.expand_rows(draw(2, 3, 0), empty[1], indices).tolist() == torch.zeros(2, 5).tolist()
    assert cpu.mix_rows(
        draw(many, 0), draw(1, 2, 0), draw(1, 2, 0), draw(many, 0).long(), draw(many, 0), None, "factors"
    ).shape == (many, 0)
    with pytest.raises(ValueError, match=r"choose_along takes .* with I above 0"):
        cpu.choose_along(draw(2, 0), draw(many, 0), 2, 1.0, None)
    with pytest.raises(ValueError, match="num_experts must be in"):
        cpu.gather_rows(draw(2, 3, 0), draw(2, 4), indices, many)


# Memory ends after the tensors are made, within the operator.
SCRIPT = """
import resource, torch
from lorary.kernels import cpu
from lorary.kernels.cpu import is_compiled_for
assert is_compiled_for(torch.zeros(1))
prototypes, x = torch.ones(40_000_000, 1, dtype=torch.bfloat16), torch.ones(1, 1, dtype=torch.bfloat16)
cpu.choose_along(x, prototypes[:9], 1, 1.0, None)
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000, -1))
try:
    cpu.choose_along(x, prototypes, 1, 1.0, None)
except MemoryError as error:
    print(error)
"""


def test_an_operator_without_memory_says_so_and_does_not_end_the_process():
    """C++ exceptions ended it."""
    if not is_compiled_for(torch.zeros(1)):
        pytest.skip("needs a C++ compiler")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.stdout == "no memory is left to mix 40,000,000 experts for 1 token\n", done.stderr


def test_operators_that_are_not_there_are_told(monkeypatch):
    cpu._find.cache_clear()
    monkeypatch.setattr(cpu, "load_object", lambda: None)
    with pytest.raises(ValueError, match="there are compiled operators for nothing on this machine, not for"):
        cpu.mix_rows(*make_mix())
    monkeypatch.undo()
    if is_compiled_for(torch.zeros(1)):
        with pytest.raises(ValueError, match=r"for bfloat16, float32, float64, not for torch\.float16"):
            cpu.shrink_rows(draw(2, 3).half(), draw(1, 2, 3).half(), torch.zeros(2, 1, dtype=torch.int64))

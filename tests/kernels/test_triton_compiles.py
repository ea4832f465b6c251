"""Triton's kernels are compiled for a GPU on a machine that has none, down to its machine code."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

MOST_SHARED = 227 * 1024  # bytes, of one program on compute capability 9.0
KERNELS = {
    "choose_kernel", "cut_kernel", "expand_kernel", "expand_tokens_kernel", "gather_kernel", "key_kernel",
    "score_kernel", "shrink_kernel", "shrink_pairs_kernel",
}  # fmt: skip

# Every operator at a size for few and one for many tokens; Triton compiles what it would launch.
SCRIPT = """
import json
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

class Absent:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)
    def get_current_device(self):
        return 0
    def get_current_stream(self, device):
        return 0

driver.set_active(Absent())
run, compiled = JITFunction.run, []

def compile_only(self, *args, warmup, **options):
    kernel = run(self, *args, warmup=True, **options)
    compiled.append((kernel.metadata.name, kernel.metadata.shared, len(kernel.asm["cubin"])))

JITFunction.run = compile_only
from lorary.kernels import triton_ops

experts, rank, width, top_k = 32, 16, 64, 2
factors = torch.zeros(experts, rank, width, dtype=torch.bfloat16)
ranks = torch.full((experts,), 8)
for tokens in (16, 1024):
    x, indices = factors.new_zeros(tokens, width), ranks.new_zeros(tokens, top_k)
    weights = torch.zeros(tokens, top_k)
    triton_ops.choose_along(x, factors[:, 0].contiguous(), top_k, 1.0, None)
    triton_ops.mix_rows(x, factors, factors, indices, weights, x, "outputs")
    triton_ops.mix_rows(x, factors, factors, indices, weights, x, "factors", ranks)
shrunk = triton_ops.shrink_rows(x, factors, indices)
triton_ops.expand_rows(shrunk, factors, indices)
triton_ops.gather_rows(shrunk, x, indices, experts)
print(json.dumps(compiled))
"""


def test_every_kernel_compiles_for_a_gpu_and_fits_into_it():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = json.loads(done.stdout)
    assert {name for name, _, _ in compiled} == KERNELS
    for name, shared, size in compiled:
        assert size > 0, name
        assert shared <= MOST_SHARED, name

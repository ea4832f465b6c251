"""Programs that a model wrote, run with their tests where they can do no harm.

The tests run in another process than the program, so that a program cannot make them pass by anything but
right values.
"""

from lorary.evaluation.sandbox.checking import check_programs
from lorary.evaluation.sandbox.code_tasks import humaneval_program, mbpp_program
from lorary.evaluation.sandbox.limits import Limits
from lorary.evaluation.sandbox.pass_at_k import pass_at_k
from lorary.evaluation.sandbox.program import Program, Verdict

__all__ = [
    "Limits",
    "Program",
    "Verdict",
    "check_programs",
    "humaneval_program",
    "mbpp_program",
    "pass_at_k",
]

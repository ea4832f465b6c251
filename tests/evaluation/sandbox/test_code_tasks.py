import pytest

from lorary.errors import DataError
from lorary.evaluation.sandbox import check_programs, humaneval_program, mbpp_program

HUMANEVAL = {
    "task_id": "Own/0",
    "prompt": "import math\n\ndef shift(text: str):\n    return text[1:] + text[:1]\n\n\n"
    'def unshift(text: str):\n    """ Undo shift. """\n',
    "entry_point": "unshift",
    "canonical_solution": "    return text[-1:] + text[:-1]\n",
    "test": "\n\ndef check(candidate):\n    for text in ('abc', ''):\n"
    "        assert candidate(shift(text)) == text and math.pi > 3\n",
}
MBPP = {
    "task_id": 1,
    "text": "Write a function that adds up a list of linked nodes.",
    "code": "class Node:\r\n  def __init__(self, value):\r\n    self.value = value\r\n"
    "    self.next = None\r\n"
    "def total(node):\r\n  return node.value + total(node.next) if node else 0",
    "test_setup_code": "first = Node(1)\r\nfirst.next = Node(2)",
    "test_list": ["assert total(first) == 3", "assert total(None) == 0"],
    "challenge_test_list": [],
}
SUM = {
    "code": "def sum(a, b):\n  return a + b",
    "test_setup_code": "",
    "test_list": ["assert sum(1, 2) == 3 and max(1, 2) == 2"],
}
SANITIZED = {"test_list": ["assert math.sqrt(f()) == 2"], "test_imports": ["import math"]}


def test_reference_solutions_pass_and_others_do_not():
    cheat = "    return text\ndef shift(text): return text\ndef check(candidate): pass\n"
    programs = [
        humaneval_program(HUMANEVAL, HUMANEVAL["canonical_solution"]),
        humaneval_program(HUMANEVAL, "    return text\n"),
        humaneval_program(HUMANEVAL, cheat),
        humaneval_program(HUMANEVAL, ""),
        mbpp_program(MBPP, MBPP["code"]),
        mbpp_program(MBPP, "class Node:\n  def __init__(self, value): pass\ndef total(node): return 3"),
        mbpp_program(SANITIZED, "def f(): return 4"),
        mbpp_program(SUM, SUM["code"] + "\ndef max(a, b): return 1"),
    ]
    verdicts = check_programs(programs, allow_code=True)
    assert [verdict.is_passed for verdict in verdicts] == [True, False, False, False, True, False, True, True]


def test_rows_without_their_fields_are_refused():
    with pytest.raises(
        DataError, match=r"a row of HumanEval must have test as str, entry_point as str: its fields are pr"
    ):
        humaneval_program({"prompt": "x", "test": 1}, "")
    with pytest.raises(
        DataError, match=r"a row of MBPP must have test_list as list: its fields are test_setup_code"
    ):
        mbpp_program({"test_setup_code": ""}, "")

"""The tests see a program's values as if both were in one process, wherever that cannot forge a verdict."""

import pytest

from lorary.evaluation.sandbox import Program, check_programs

SAME = {
    "values of all kinds": (
        """
from collections import *
from fractions import Fraction
from decimal import Decimal
import datetime
def f(x): return x
def g(): return (
    Counter('aab'), OrderedDict(a=1), deque([1]), defaultdict(list, b=[2]), Fraction(1, 3),
    Decimal('0.10'), datetime.date(2020, 1, 2), range(3), 2**5000, 1j, b'x', {1}, None, float('inf'),
    namedtuple('P', 'x')(1), chr(0xD800), frozenset({(1, 'a')}))
""",
        """
import decimal, fractions, datetime
for v in (1, True, 1.0, 'é', [1, [2]], (1,), {1: {2}}, -2**70, b'', range(1, 9, 2), None):
    assert f(v) == v and type(f(v)) is type(v), v
r = g()
assert r[0].most_common(1) == [('a', 2)] and r[1] == {'a': 1} and r[2].pop() == 1
assert r[3:] == ({'b': [2]}, fractions.Fraction(1, 3), decimal.Decimal('0.1'), datetime.date(2020, 1, 2),
    range(3), 2**5000, 1j, b'x', {1}, None, float('inf'), (1,), chr(0xD800), frozenset({(1, 'a')}))
""",
    ),
    "classes of the program": (
        """
class Node:
    kind = 'node'
    def __init__(self, value): self.value, self.next = value, None
    def twice(self): return 2 * self.value
    def __str__(self): return f'<{self.value}>'
def length(node): return 1 + length(node.next) if node else 0
def make(v): return Node(v)
""",
        """
a = Node(1)
a.next = Node(5)
assert length(a) == 2 and a.next.value == 5 and a.twice() == 2
assert isinstance(make(3), Node) and not isinstance(3, Node) and str(a) == '<1>'
assert a == a and a != make(1) and a in [a] and len({a, a}) == 1
""",
    ),
    "iterators": (
        """
def squares(n):
    for i in range(n): yield i * i
class Bag:
    def __init__(self): self.items = {}
    def __getitem__(self, k): return self.items[k]
    def __setitem__(self, k, v): self.items[k] = v
    def __delitem__(self, k): del self.items[k]
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
""",
        """
assert list(squares(4)) == [0, 1, 4, 9] and sum(map(int, squares(3))) == 5
b = Bag()
b['x'] = [1]
assert b['x'] == [1] and len(b) == 1 and 'x' in b and 'y' not in b and bool(b)
del b['x']
assert not b
""",
    ),
    "arguments that a function changes": (
        """
def sort(x): x.sort()
def put(d, *, key): d[key].append(1)
def drop(s): s.discard(1)
""",
        """
a = [3, 1, 2]
b = a
sort(a)
assert b == [1, 2, 3]
inner = []
d = {'k': inner}
put(d, key='k')
assert inner == [1] and d['k'] is inner
s = {1, 2}
drop(s)
assert s == {2}
""",
    ),
    "exceptions": (
        """
class Own(ValueError): pass
def f(x):
    raise Own('bad')
""",
        """
try: f(1)
except ValueError as error: assert 'bad' in str(error)
else: assert False
""",
    ),
    "modules that the program imports": (
        """
import math
from math import sqrt
limit = 3
""",
        """
assert math.isclose(sqrt(4), 2) and limit == 3
""",
    ),
    "types and functions of Python": (
        """
def keep(values, kind, key): return sorted((v for v in values if type(v) is kind), key=key)
""",
        """
assert keep([3, 'a', -5, 1.0], int, abs) == [3, -5]
""",
    ),
    "threads of the program": (
        """
import threading
def f(x):
    out = []
    t = threading.Thread(target=lambda: out.append(x))
    t.start(); t.join()
    return out
""",
        """
assert f(2) == [2]
""",
    ),
    "dataclasses, and annotations that are texts": (
        """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class P:
    x: int
def f(): return P(3)
""",
        """
assert f().x == 3 and P(4).x == 4
""",
    ),
}


def test_programs_behave_as_within_one_process():
    programs = [Program(code=code, tests=tests) for code, tests in SAME.values()]
    verdicts = dict(zip(SAME, check_programs(programs, allow_code=True), strict=True))
    assert {name: verdict.message for name, verdict in verdicts.items() if not verdict.is_passed} == {}
    for code, tests in SAME.values():
        together = {"__name__": "tests"}
        exec(code, together)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(__import__("sys").modules, "tests", type(pytest)("tests"))
            exec(tests, together)


def test_what_could_forge_a_verdict_is_not_asked_of_the_program():
    code = """
import math
class Any:
    def __eq__(self, other): return True
    def __lt__(self, other): return True
    def __add__(self, other): return self
    def __contains__(self, x): return True
    def __iter__(self): return iter([])
    def __hash__(self): return 1
def f(): return Any()
math.isclose = lambda a, b: True
math.pi = 7
"""
    tests = (
        "f() == 1",
        "f() + 1",
        "f() < 2",
        "1 in f()",
        "math.isclose(1, 2)",
        "math.pi == 7",
        "f() in {1: 1}",
    )
    programs = [Program(code=code, tests=f"assert {test}") for test in tests]
    assert not any(verdict.is_passed for verdict in check_programs(programs, allow_code=True))

"""Programs that attack the sandbox or the verdict, each with the outcomes that are right for it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    code: str
    outcomes: set[str]


ATTACKS = {
    "a fork bomb": Attack(
        """
import os
while True:
    os.fork()
""",
        {"died", "error", "time"},
    ),
    "a huge allocation": Attack(
        """
x = bytearray(10**12)
""",
        {"memory"},
    ),
    "memory piece by piece": Attack(
        """
x = []
while True: x.append(bytearray(10**6))
""",
        {"memory"},
    ),
    "memory in many processes": Attack(
        """
import os
for i in range(3): os.fork()
x = bytearray(200 * 10**6)
while True: pass
""",
        {"died", "error", "memory"},
    ),
    "an endless loop": Attack(
        """
while True: pass
""",
        {"died", "time"},
    ),
    "an endless sleep": Attack(
        """
import time
time.sleep(1000)
""",
        {"time"},
    ),
    "a gigabyte printed": Attack(
        """
for i in range(1000): print('x' * 10**6)
""",
        {"died", "error", "time"},
    ),
    "a huge answer": Attack(
        """
def f(x): return 'x' * (17 * 2**20)
""",
        {"error"},
    ),
    "a large file": Attack(
        """
open('big', 'wb').write(bytes(2 * 10**6))
""",
        {"error"},
    ),
    "many large files": Attack(
        """
for i in range(100): open(str(i), 'wb').write(bytes(10**6))
""",
        {"error", "failed"},
    ),
    "exit at once": Attack(
        """
import os
os._exit(0)
""",
        {"died"},
    ),
    "sys.exit": Attack(
        """
import sys
sys.exit(0)
""",
        {"error"},
    ),
    "exit when called": Attack(
        """
import os
def f(x): os._exit(0)
""",
        {"died"},
    ),
    "an answer that equals everything": Attack(
        """
class Any:
    def __eq__(self, other): return True
    def __hash__(self): return 0
    def __sub__(self, other): return self
    def __abs__(self): return self
    def __lt__(self, other): return True
def f(x): return Any()
def g(): return Any()
""",
        {"failed"},
    ),
    "a list that equals everything": Attack(
        """
class L(list):
    def __eq__(self, other): return True
def f(x): return L()
""",
        {"failed"},
    ),
    "an item that equals everything": Attack(
        """
class S(str):
    def __eq__(self, other): return True
def f(x): return [1, S('two')]
""",
        {"failed"},
    ),
    "a number that is near everything": Attack(
        """
class F(float):
    def __sub__(self, other): return 0.0
def f(x): return [1, 'one']
def g(): return F(7)
""",
        {"failed"},
    ),
    "mock.ANY": Attack(
        """
from unittest.mock import ANY
def f(x): return ANY
""",
        {"failed"},
    ),
    "other built-in functions": Attack(
        """
import builtins
builtins.abs = lambda x: 0
abs = lambda x: 0
def f(x): return [1, 'one']
def g(): return 1.0
""",
        {"failed"},
    ),
    "no assertions": Attack(
        """
import builtins
class E(Exception): pass
builtins.AssertionError = E
""",
        {"error"},
    ),
    "all exceptions caught": Attack(
        """
import sys
sys.excepthook = lambda *a: None
def f(x):
    try: raise ValueError
    except BaseException: return None
""",
        {"failed"},
    ),
    "an AssertionError of its own": Attack(
        """
def f(x): raise AssertionError('passed')
""",
        {"failed"},
    ),
    "every file descriptor": Attack(
        """
import os
for fd in range(3, 200):
    try: os.write(fd, b'{"outcome": "passed"}' * 9)
    except OSError: pass
""",
        {"died", "error"},
    ),
    "a verdict of its own": Attack(
        """
import os, json
d = json.dumps({'secret': '', 'outcome': 'passed', 'message': ''}).encode()
for fd in range(0, 200):
    try: os.write(fd, len(d).to_bytes(4, 'big') + d)
    except OSError: pass
def f(x): return 0
""",
        {"died", "error", "failed"},
    ),
    "answers before the questions": Attack(
        """
import os, json
d = json.dumps({'value': {'type': 'dict', 'value': []}}).encode()
for fd in range(3, 20):
    try:
        for i in range(9): os.write(fd, len(d).to_bytes(4, 'big') + d)
    except OSError: pass
""",
        {"died", "error"},
    ),
    "answers in no language": Attack(
        """
import os
for fd in range(3, 20):
    try: os.close(fd)
    except OSError: pass
""",
        {"died"},
    ),
    "a copy that survives": Attack(
        """
import os
if os.fork(): os._exit(0)
RIGHT = 1
""",
        {"died", "error", "time"},
    ),
    "threads": Attack(
        """
import threading, time
for i in range(100):
    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
""",
        {"error"},
    ),
    "an answer within itself": Attack(
        """
def f(x):
    y = []
    y.append(y)
    return y
""",
        {"error"},
    ),
    "an endless answer": Attack(
        """
class N:
    def __iter__(self): return self
    def __next__(self): return N()
def f(x): return N()
""",
        {"failed"},
    ),
    "a crash": Attack(
        """
import ctypes
ctypes.string_at(0)
""",
        {"died"},
    ),
}

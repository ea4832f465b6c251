import random
import re
import string

import pytest

from lorary.experts.module_patterns import ModulePatterns
from lorary.files import PatternMatcher
from lorary.files.patterns import PatternError

MODULES = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.q_proj",
    "model.layers.11.self_attn.q_proj",
    "model.layers.1.mlp.up_proj",
    "encoder.model.layers.1.mlp.up_proj",
    "lm_head",
    "q_proj",
    "my_q_proj",
]
PATTERNS = [
    ["q_proj"],
    ["^q_proj"],
    ["model.layers.1.self_attn.q_proj"],
    ["^model.layers.1.mlp.up_proj", "up_proj"],
    ["up_proj", "^model.layers.1.mlp.up_proj"],
    [r"layers\.\d+\.self_attn\.(q|k)_proj"],
    [".*"],
    ["layers.1", "proj"],
    ["mlp.up_proj|q_proj"],
    [],
]


@pytest.mark.parametrize("patterns", PATTERNS)
@pytest.mark.parametrize("module", MODULES)
def test_patterns_match_as_in_peft(peft, patterns, module):
    from peft.utils.other import get_pattern_key

    assert find(patterns, module) == get_pattern_key(patterns, module)


def find(patterns, module):
    """Answer as PEFT's function does: the path itself if no pattern matches it."""
    key = ModulePatterns(patterns, PatternMatcher()).find(module)
    return module if key is None else key


def test_patterns_drawn_at_random_match_as_in_peft(peft):
    """Compares what is looked up, and what is matched, with PEFT: equal lengths, wild dots and many dots."""
    from peft.utils.other import get_pattern_key

    draw = random.Random(0)
    parts = [
        "a",
        "b",
        "ab",
        "a-b",
        "aXb",
        "1",
        "11",
        "q_proj",
        "",
        "..",
        r"\.",
        r"a\.b",
        r"\-",
        "(a|b)",
        r"\w+",
        "a|b",
    ]
    num_found = 0
    for _ in range(4000):
        keys = [
            draw.choice(["", "", "^"])
            + draw.choice([".", r"\."]).join(draw.choices(parts, k=draw.randint(1, 3)))
            for _ in range(draw.randint(1, 6))
        ]
        module = ".".join(
            draw.choices(["a", "b", "ab", "a-b", "aXb", "1", "11", "q_proj", ""], k=draw.randint(1, 4))
        )
        expected = get_pattern_key(keys, module)
        num_found += expected in keys
        assert find(keys, module) == expected, (keys, module)
    assert num_found > 500


def test_a_path_that_lorary_wrote_is_looked_up_and_matches_that_module_alone():
    modules = [f"model.layers.{layer}.q-{letter}" for layer in range(3) for letter in string.ascii_lowercase]
    patterns = ModulePatterns([f"^{re.escape(module)}" for module in modules], PatternMatcher())
    assert not patterns._others
    assert [patterns.find(module) for module in modules] == [f"^{re.escape(module)}" for module in modules]
    assert patterns.find("x." + modules[0]) is None


@pytest.mark.parametrize("write", [re.escape, str, lambda path: f"^{re.escape(path)}"])
def test_as_many_patterns_as_modules_take_their_time_limit_at_most(write):
    """Guards against trying all of 20,000 patterns for each of 20,000 modules, which takes minutes."""
    modules = [
        f"model.layers.{layer}.mlp.experts.{number}.up_proj" for layer in range(80) for number in range(250)
    ]
    patterns = ModulePatterns([write(module) for module in reversed(modules)], PatternMatcher())
    assert all(patterns.find(module) == write(module) for module in modules)


HOSTILE = [
    ["(.|.)*!"],
    ["(a*)*b", "x"],
    [r"((\w\.?){1,3}){1,60}[!?]"],
    [f"(a|b{number}|a)*c" for number in range(20_000)],
    [("a." * 40)[: 2 * place] + "a" + "." * (80 - 2 * place) for place in range(40)] * 500,
    ["".join(random.Random(seed).choices("a.", k=200)) + "b" for seed in range(20_000)],
    ["." * length for length in range(1, 2000)],
]


@pytest.mark.parametrize("keys", HOSTILE, ids=lambda keys: keys[0][:10])
def test_hostile_patterns_end_with_an_answer_or_a_refusal(keys):
    """Guards against patterns of strangers that keep a machine busy for years."""
    modules = [".".join("a" * 100) + str(number) for number in range(20_000)]
    matcher, refusal = PatternMatcher(), "takes too long"
    try:
        patterns = ModulePatterns(keys, matcher)
        for module in modules:
            patterns.find(module)
    except PatternError as error:
        refusal = str(error)
    assert "takes too long" in refusal or "PEFT may not finish matching" in refusal
    assert len(refusal) < 400
    # The engine looks at the time of this process, not at the clock.
    assert matcher._seconds > -5

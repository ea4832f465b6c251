"""A small folder in the shape of the benchmarks' files, and a tiny model with a chat template."""

import pytest

from lorary.assembly import load_model
from tests.benchmark_rows import write_benchmarks

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}"
    "{% if not loop.last or add_generation_prompt %}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def write_data(tmp_path):
    """Write the folder of benchmarks, with rows replaced by file."""
    return lambda **changed: write_benchmarks(tmp_path / "data", **changed)


@pytest.fixture
def data(write_data):
    """The folder as it is."""
    return write_data()


@pytest.fixture
def base(build_tiny_base):
    """A tiny base model with a chat template."""
    base = build_tiny_base()
    base.tokenizer.chat_template = CHAT
    return base


@pytest.fixture
def model(base, draw_expert):
    """Three experts on it."""
    return load_model(base, {name: draw_expert(base, name) for name in ("one", "two", "three")}, router=None)

"""Stored tensors that others made or that were damaged count as missing; what is computed anew is right."""

import json

import pytest
import torch

from lorary.assembly import load_model
from lorary.facts import calibrations, find_task_facts, finding, prototypes
from lorary.facts.prototypes import are_sound_prototypes
from lorary.facts.soundness import StoredExperts
from lorary.library import Library
from lorary.library.artifacts import Artifacts
from tests.facts.texts import take_for_examples


@pytest.fixture
def library(tmp_path, experts):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    return library


def pack_layout(layout):
    return torch.tensor(list(json.dumps(layout).encode()), dtype=torch.uint8)


def change_layout(artifact, change):
    layout = json.loads(artifact["layout"].numpy().tobytes())
    return {**artifact, "layout": pack_layout(change(layout))}


def swap_widths(layout):
    """Other widths of the same sum."""
    paths = list(layout)
    return {**layout, paths[0]: layout[paths[0]] - 1, paths[1]: layout[paths[1]] + 1}


def with_width(width):
    return lambda layout: {**layout, next(iter(layout)): width}


def without_numbers(artifact, *names):
    return {**artifact, **{name: torch.zeros_like(artifact[name]) for name in names}}


# What is wrong -> an artifact's tensors as someone else might have made them. "rows" is the first tensor.
CHANGES = {
    "NaN": lambda artifact, rows: {**artifact, rows: artifact[rows].clone().fill_(float("nan"))},
    "one infinity": lambda artifact, rows: {
        **artifact, rows: artifact[rows].clone().index_fill_(0, torch.tensor([1]), float("inf"))
    },
    "too short": lambda artifact, rows: {**artifact, rows: artifact[rows][:-1]},
    "too long": lambda artifact, rows: {**artifact, rows: torch.cat([artifact[rows], torch.ones(1)])},
    "two dimensions": lambda artifact, rows: {**artifact, rows: artifact[rows][None]},
    "another dtype": lambda artifact, rows: {**artifact, rows: artifact[rows].double()},
    "whole numbers": lambda artifact, rows: {**artifact, rows: artifact[rows].int()},
    "left out": lambda artifact, rows: {name: tensor for name, tensor in artifact.items() if name != rows},
    "no layout": lambda artifact, rows: {rows: artifact[rows]},
    "one tensor more": lambda artifact, rows: {**artifact, "more": torch.ones(1)},
    "a layout of floats": lambda artifact, rows: {**artifact, "layout": torch.ones(3)},
    "a layout of no JSON": lambda artifact, rows: {**artifact, "layout": torch.ones(3, dtype=torch.uint8)},
    "a layout that is a list": lambda artifact, rows: {**artifact, "layout": pack_layout([1, 2])},
    "nesting": lambda artifact, rows: {
        **artifact, "layout": torch.tensor(list(b'{"a":' + b"[" * 5000), dtype=torch.uint8)
    },
    "another layer": lambda artifact, rows: change_layout(artifact, lambda layout: {**layout, "lm_head": 16}),
    "no layer": lambda artifact, rows: change_layout(artifact, lambda layout: {}),
    "other widths": lambda artifact, rows: change_layout(artifact, swap_widths),
    "a negative width": lambda artifact, rows: change_layout(artifact, with_width(-16)),
    "a width of text": lambda artifact, rows: change_layout(artifact, with_width("16")),
    "a width of true": lambda artifact, rows: change_layout(artifact, with_width(True)),
    "a huge width": lambda artifact, rows: change_layout(artifact, with_width(2**62)),
}  # fmt: skip
OF_PROTOTYPES = {
    "zeros": lambda artifact: without_numbers(artifact, "prototypes"),
    "zeros and gains of zero": lambda artifact: without_numbers(artifact, "prototypes", "gains"),
    "gains of zero": lambda artifact: without_numbers(artifact, "gains"),
    "negative gains": lambda artifact: {**artifact, "gains": -artifact["gains"]},
    "gains that are NaN": lambda artifact: {**artifact, "gains": artifact["gains"] * float("nan")},
    "long rows": lambda artifact: {**artifact, "prototypes": 7 * artifact["prototypes"]},
}  # fmt: skip


def put(library, algorithm, parameters, change):
    """Change what a library has stored for every expert, as someone might who knows its format."""
    stored = library.artifacts(algorithm, parameters, lambda batch: pytest.fail("nothing is stored"))
    changed = {name: change(dict(artifact)) for name, artifact in stored.items()}
    library.artifacts(
        algorithm, parameters, lambda batch: {name: changed[name] for name in batch}, None, refuse
    )


def refuse(name, artifact):
    return False


def read(model, **inputs):
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 9, 30, 7]])).logits


@pytest.mark.parametrize("what", [*CHANGES, *OF_PROTOTYPES])
def test_prototypes_that_do_not_fit_are_computed_anew(library, build_tiny_base, what):
    """Guards a bug: widths of a stored layout made an operator read foreign memory."""
    expected = read(load_model(build_tiny_base(), library, router="arrow"))
    change = OF_PROTOTYPES.get(what) or (lambda artifact: CHANGES[what](artifact, "prototypes"))
    put(library, prototypes.ALGORITHM, {}, change)
    for _ in range(2):
        assert torch.equal(read(load_model(build_tiny_base(), library, router="arrow")), expected)
    stored = library.artifacts(prototypes.ALGORITHM, {}, lambda batch: pytest.fail("nothing was stored"))
    known = StoredExperts(library)
    assert all(are_sound_prototypes(known, name, artifact) for name, artifact in stored.items())


@pytest.mark.parametrize("what", CHANGES)
def test_calibrations_that_do_not_fit_are_computed_anew(library, build_tiny_base, what, monkeypatch):
    asked = []
    look = finding.keep_artifacts

    def note(experts, algorithm, parameters, compute, is_sound):
        asked.extend(parameters.values())
        return look(experts, algorithm, parameters, compute, is_sound)

    monkeypatch.setattr(finding, "keep_artifacts", note)
    options = {"router": "calibrated", "generic": ["one two", "three four five", "six"]}
    expected = read(load_model(build_tiny_base(), library, **options))
    put(library, calibrations.ALGORITHM, asked[0], lambda artifact: CHANGES[what](artifact, "readers"))
    assert torch.equal(read(load_model(build_tiny_base(), library, **options)), expected)


@pytest.mark.parametrize(
    ("fact", "tensor", "what"),
    [
        *(("means", "rows", what) for what in CHANGES),
        *(
            ("embeddings", "embeddings", what)
            for what in ("NaN", "one infinity", "too short", "another dtype", "left out", "one tensor more")
        ),
    ],
)
def test_facts_of_tasks_that_do_not_fit_are_found_anew(
    library, base, sequences, fact, tensor, what, monkeypatch
):
    model = load_model(base, library, router=None)
    examples = take_for_examples({name: own * 2 for name, own in sequences.items()})
    expected = find_task_facts(model, library, examples, [fact])[fact]
    stored = damage_all(monkeypatch, library, lambda artifact: CHANGES[what](artifact, tensor))
    for name, rows in find_task_facts(model, library, examples, [fact])[fact].items():
        assert torch.equal(rows, expected[name])
    assert len(stored) == len(sequences)


def damage_all(monkeypatch, library, change):
    """Let a library give changed artifacts from now on; returns the keys of those that are stored anew."""
    load, save_all, stored = Artifacts.load, Artifacts.save_all, []

    def load_damaged(self, key):
        found = load(self, key)
        return None if found is None else change(dict(found))

    def note(self, artifacts):
        stored.extend(artifacts)
        save_all(self, artifacts)

    monkeypatch.setattr(Artifacts, "load", load_damaged)
    monkeypatch.setattr(Artifacts, "save_all", note)
    return stored


def test_an_expert_that_adds_nothing_has_sound_prototypes(tmp_path, base, draw_expert, build_tiny_base):
    expert = draw_expert(base, "idle")
    for pair in expert.factors.values():
        pair.b.zero_()
    library = Library.open(str(tmp_path / "idle"), create=True)
    library.add(expert)
    library.add(draw_expert(base, "busy", targets=["q_proj"]))
    load_model(build_tiny_base(), library, router="arrow")
    stored = library.artifacts(prototypes.ALGORITHM, {}, lambda batch: pytest.fail("nothing was stored"))
    known = StoredExperts(library)
    assert all(are_sound_prototypes(known, name, artifact) for name, artifact in stored.items())

"""Each kind of expert, and what can be done with it: one library, one model, one evaluation of all."""

import json
from dataclasses import replace

import pytest
import torch

from lorary import load_model
from lorary.cli import main
from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors, read_peft
from lorary.experts.parts import KINDS
from lorary.experts.parts.added_bias import AddedBiasPart
from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.embedding import EmbeddingPart
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.parts.soft_prompt import MODEL, SoftPromptPart
from lorary.experts.parts.sparse import SparsePart
from lorary.experts.parts.tokens import TokensPart
from lorary.experts.parts.whole import WholePart
from lorary.library import Library
from lorary.models import fold, load_base
from lorary.transforms import merge

WORDS, DOWN, NORM = "model.embed_tokens", "model.layers.0.mlp.down_proj", "model.layers.1.input_layernorm"
IDS = torch.tensor([[5, 9, 2, 7, 30, 31]])
# Of these kinds, a plain model without biases cannot hold the change.
UNFOLDED = {"soft prompt": "a soft prompt", "added bias": "has no bias, so a plain model cannot hold"}


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def make_kinds(base_model):
    """Make an expert of each kind for a tiny Llama of width 16."""
    pair = {DOWN: Factors(draw(2, 24) / 4, draw(16, 2))}
    places = torch.arange(40)
    parts = {
        "whole": {NORM: WholePart(weight=draw(16).abs() + 0.5)},
        "embedding": {WORDS: EmbeddingPart(draw(2, 257), draw(16, 2))},
        "sparse": {DOWN: SparsePart(draw(40), torch.stack([places % 16, places % 24]), 1)},
        "dora": {DOWN: DoraPart(draw(16).abs() + 0.5)},
        "ia3": {DOWN: Ia3Part(draw(24) + 1, True)},
        "added bias": {DOWN: AddedBiasPart(draw(16))},
        "tokens": {WORDS: TokensPart(draw(125, 16), tuple(range(5, 130)), is_whole_adapter=True)},
        "soft prompt": {MODEL: SoftPromptPart(draw(3, 16))},
    }
    assert parts.keys() == KINDS.keys()
    return {
        kind: Expert(
            kind,
            base_model,
            pair if kind in ("whole", "dora", "added bias") else {},
            parts={path: (part,) for path, part in own.items()},
        )
        for kind, own in parts.items()
    }


@pytest.fixture(scope="module")
def experts(tiny_base):
    return make_kinds(tiny_base)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, trained_library, experts):
    """A library of an expert of each kind, and two of low-rank factors."""
    library = Library.open(str(tmp_path_factory.mktemp("kinds") / "lib"), create=True)
    for name in ("prices", "plurals"):
        library.add(Library.open(trained_library)[name])
    for expert in experts.values():
        library.add(expert)
    return library


@pytest.fixture(scope="module")
def plain(tiny_base):
    """The base model without experts."""
    return load_base(tiny_base, dtype=torch.float32).model


@pytest.fixture(scope="module")
def model(tiny_base, stored):
    with pytest.warns(UserWarning, match="routers do not choose it"):
        return load_model(load_base(tiny_base, dtype=torch.float32), stored, router="arrow")


@torch.no_grad()
def run(model, *names):
    return model(IDS.repeat(len(names), 1), use_cache=False, experts=list(names)).logits


@pytest.fixture(scope="module")
def losses(stored, tmp_path_factory):
    """Losses under the base model and under each expert, by one evaluation."""
    out = tmp_path_factory.mktemp("eval") / "out"
    routes = ",".join(["base", *(f"expert:{kind}" for kind in KINDS)])
    words = ("--tasks", "generated:plurals", "--routes", routes, "--evaluation.num_examples", "2")
    with pytest.warns(UserWarning, match="routers do not choose it"):
        assert main(("eval", stored.url, *words, "--dtype", "float32", "--out", str(out))) == 0
    found = json.loads((out / "results.json").read_text())["scores"]
    return {row["route"]: row["values"] for row in found if row["metric"] == "loss"}


@pytest.mark.parametrize("kind", KINDS)
class TestKind:
    def test_it_is_kept_listed_and_verified(self, lorary, stored, experts, kind):
        found = Library.open(stored.url)[kind]
        for path, parts in experts[kind].parts.items():
            for one, other in zip(found.parts[path], parts, strict=True):
                assert all(torch.equal(one.tensors[key], each) for key, each in other.tensors.items())
        entries = json.loads(lorary("library", "ls", stored.url, "--json")[1])
        assert [entry["kinds"] for entry in entries if entry["name"] == kind] == [[kind]]
        assert lorary("library", "verify", stored.url, kind)[0] == 0

    def test_it_is_named_in_a_mixed_batch_and_folded(self, plain, model, experts, kind):
        """The batch also has the base model, the router's choice and an expert of another kind."""
        other = "ia3" if kind != "ia3" else "dora"
        found = run(model, kind, None, "auto", other)
        if kind in UNFOLDED:
            with pytest.raises(IncompatibleExpert, match=UNFOLDED[kind]):
                fold(plain, experts[kind])
            expected = run(model, kind)
        else:
            expected = fold(plain, experts[kind])(IDS, use_cache=False).logits.detach()
        torch.testing.assert_close(found[:1], expected, atol=3e-5, rtol=1e-4)
        assert not torch.allclose(found[0], found[1], atol=1e-2)
        assert kind not in model.names  # routers choose among the others

    def test_it_is_exported(self, lorary, stored, experts, kind, tmp_path):
        code, _, errors = lorary("export", stored.url, kind, "--out", str(tmp_path / "adapter"))
        assert code == 0, errors
        again = read_peft(str(tmp_path / "adapter"))
        assert again.kinds == [kind] and set(again.paths) == set(experts[kind].paths)
        code, _, errors = lorary("export", stored.url, kind, "--fold", "--out", str(tmp_path / "whole"))
        assert code == (2 if kind in UNFOLDED else 0), errors
        if kind in UNFOLDED:
            assert UNFOLDED[kind] in " ".join(errors.split())

    def test_it_is_evaluated(self, losses, kind):
        assert losses[f"expert:{kind}"] != losses["base"]

    def test_it_is_merged_or_told_what_is_possible(self, experts, kind):
        two = {name: replace(experts[kind], name=name) for name in ("one", "two")}
        if KINDS[kind].is_linear:
            merged = merge(two, "linear")
            assert merged.kinds == [kind]
            return
        with pytest.raises(IncompatibleExpert, match=r"merging .*: such an expert can be stored, verified"):
            merge(two, "linear", names=["one", "two"])

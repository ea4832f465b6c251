"""Adapters, libraries and what lies within them."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lorary.errors import LibraryError
from lorary.experts import Expert, Factors, read_peft, write_peft
from lorary.experts.parts import Part
from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.embedding import EmbeddingPart
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.parts.sparse import SparsePart
from lorary.experts.parts.tokens import TokensPart
from lorary.experts.parts.whole import WholePart
from lorary.experts.skills import SkillSet, TaskTable, read_poly, write_poly
from lorary.facts.prototypes import find_prototypes
from lorary.library import Library
from lorary.library.skills import load_skills, store_skills
from tests.hostile.reader import (
    check_card,
    check_expert,
    check_finite,
    check_shown,
    check_text,
    digest_expert,
    digest_tensors,
)
from tests.hostile.tiny import draw_expert, draw_experts

PRIVATE_PLACES = (".lorary", ".lorary/tmp", ".lorary/trash", ".lorary/artifacts", ".lorary/journal.json")
LOCKS = (".lorary/write.lock", ".lorary/gate.lock", ".lorary/swap.lock")


def make_adapter(folder: Path) -> None:
    """Write a folder as lorary does; PEFT's own lack the sidecar."""
    write_peft(draw_expert("poetry"), folder / "poetry")


def make_plain_adapter(folder: Path) -> None:
    """Write a folder as PEFT does, with patterns that choose ranks and scales per module."""
    make_adapter(folder)
    for file in ("expert.json", "README.md"):
        (folder / "poetry" / file).unlink()
    path = folder / "poetry" / "adapter_config.json"
    config = json.loads(path.read_text())
    config |= {"rank_pattern": {"q_proj": config["r"]}, "alpha_pattern": {".*v_proj": 4}}
    path.write_text(json.dumps(config))


def make_pickled_adapter(folder: Path) -> None:
    """Write a folder whose weights are what ``torch.save`` writes."""
    make_plain_adapter(folder)
    weights = folder / "poetry" / "adapter_model.safetensors"
    torch.save(load_file(weights), weights.with_name("adapter_model.bin"))
    weights.unlink()


def make_other_kinds(folder: Path) -> None:
    """Write an adapter with every kind of part that a LoRA can have."""
    expert = draw_expert("poetry")
    (first, (a, b)), (second, pair) = list(expert.factors.items())[:2]
    parts: dict[str, tuple[Part, ...]] = {
        first: (DoraPart(torch.rand(len(b)) + 0.5),),
        second: (DoraPart(torch.rand(len(pair.b)) + 0.5),),
        "model.norm": (WholePart(weight=torch.rand(16)),),
        "model.layers.0.mlp.up_proj": (WholePart(bias=torch.rand(24)),),
        "model.embed_tokens": (EmbeddingPart(torch.randn(2, 96), torch.randn(16, 2)),),
        "lm_head": (TokensPart(torch.randn(2, 16), (3, 5)),),
    }
    write_peft(replace(expert, factors={first: Factors(a, b), second: pair}, parts=parts), folder / "poetry")


def make_sparse_adapter(folder: Path) -> None:
    """Write PEFT's SHiRA, with whole numbers beside others."""
    expert = draw_expert("poetry")
    entries = torch.randperm(16 * 16)[:32]
    part = SparsePart(torch.randn(32), torch.stack([entries // 16, entries % 16]))
    write_peft(replace(expert, factors={}, parts={next(iter(expert.factors)): (part,)}), folder / "poetry")


def make_ia3_adapter(folder: Path) -> None:
    """Write PEFT's IA3, of outputs and inputs."""
    expert = draw_expert("poetry")
    first, second = list(expert.factors)[:2]
    parts = {first: (Ia3Part(torch.rand(16), False),), second: (Ia3Part(torch.rand(16), True),)}
    write_peft(replace(expert, factors={}, parts=parts), folder / "poetry")


def _draw_skills() -> SkillSet:
    """Draw two skills of one rank and a table of two tasks."""
    skills = [draw_expert(name) for name in ("one", "two")]
    rows = torch.tensor([[0.5, -1.0], [2.0, 0.25]])
    logits = {path: rows.clone() for path in skills[0].factors}
    return SkillSet(skills, TaskTable(tasks=("law", "sql"), num_skills=2, logits=logits))


def make_poly_adapter(folder: Path) -> None:
    """Write skills as PEFT's Poly does."""
    write_poly(_draw_skills(), folder / "poly")


def read_poly_adapter(folder: Path) -> SkillSet:
    """Read PEFT's Poly folder."""
    return read_poly(folder / "poly", tasks=("law", "sql"))


def make_skill_library(folder: Path) -> None:
    """Write a library of skills."""
    store_skills(Library.open(folder / "lib", create=True), _draw_skills())


def read_skill_library(folder: Path) -> SkillSet:
    """Load the skills of a library."""
    return load_skills(Library.open(folder / "lib"))


def check_skills(skill_set: SkillSet) -> None:
    """Check that skills and table are whole and finite."""
    for skill in skill_set.skills:
        check_expert(skill)
    for logits in skill_set.table.logits.values():
        assert logits.isfinite().all() and logits.dim() == 2


def read_adapter(folder: Path) -> Expert:
    """Read an adapter folder."""
    return read_peft(folder / "poetry")


def make_library(folder: Path) -> None:
    """Write a library of three experts with their prototypes."""
    library = Library.open(folder / "lib", create=True)
    for expert in draw_experts().values():
        library.add(expert)
    find_prototypes(library)


def read_library(folder: Path) -> dict[str, Any]:
    """Open a library, list it and read every expert."""
    library = Library.open(folder / "lib")
    entries = library.entries()
    library.weight_hashes()
    return {"experts": _read_all(library), "entries": entries}


def _read_all(library: Library) -> dict[str, Expert]:
    """Read every expert and its numbers, which are not read before they are asked for."""
    experts = {name: library[name] for name in library}
    for expert in experts.values():
        dict(expert.factors)
    return experts


def check_library(found: dict[str, Any]) -> None:
    """Assert that every expert and entry is sound."""
    for name, expert in found["experts"].items():
        assert expert.name == name
        check_expert(expert)
    for entry in found["entries"]:
        check_text(entry.name, entry.base_model)
        check_card(entry.card)


def answer_library(found: dict[str, Any]) -> dict[str, str]:
    """Say what each expert does."""
    return {name: digest_expert(expert) for name, expert in found["experts"].items()}


def read_verified(folder: Path) -> dict[str, Any]:
    """Verify a library; only one without problems is accepted."""
    library = Library.open(folder / "lib")
    problems = library.verify()
    for problem in problems:
        check_shown(str(problem), 2000)
    if problems:
        return {"problems": problems}
    prototypes = {
        f"{path}.{number}": part
        for path, parts in find_prototypes(library).items()
        for number, part in enumerate(parts)
    }
    return {"problems": [], "experts": _read_all(library), "prototypes": digest_tensors(prototypes)}


def check_verified(found: dict[str, Any]) -> None:
    """Assert that what verification let through is sound."""
    for expert in found.get("experts", {}).values():
        check_expert(expert)


def answer_verified(found: dict[str, Any]) -> Any:
    """Say what the experts do; a problem that is told is a refusal."""
    if found["problems"]:
        return REFUSED
    return answer_library(found), found["prototypes"]


REFUSED = object()
"""An answer that stands for a refusal."""


def read_prototypes(folder: Path) -> dict[str, Any]:
    """Take a library's prototypes from its artifacts."""
    return {"found": find_prototypes(Library.open(folder / "lib"))}


def check_prototypes(found: dict[str, Any]) -> None:
    """Assert that each is a unit vector of its layer's width."""
    widths = {path: pair.a.shape[1] for path, pair in draw_expert("poetry").factors.items()}
    for path, (rows, gains) in found["found"].items():
        check_finite(rows, gains)
        if path in widths:
            assert rows.shape[1] == widths[path], f"{path} is {rows.shape[1]} wide"
        lengths = rows.norm(dim=1)
        assert ((lengths - 1).abs() < 1e-3)[gains > 0].all(), "a prototype is no unit vector"


def answer_prototypes(found: dict[str, Any]) -> str:
    """Hash them all."""
    return digest_tensors(
        {f"{path}.{n}": part for path, parts in found["found"].items() for n, part in enumerate(parts)}
    )


def read_pruned(folder: Path) -> dict[str, Any]:
    """Prune a library, then read it."""
    Library.open(folder / "lib").prune()
    return read_library(folder)


def read_changed(folder: Path) -> dict[str, Any]:
    """Rename, copy, replace and delete experts of a library, then read it."""
    library = Library.open(folder / "lib")
    library.rename("poetry", "verse")
    library.copy("law", "law copy")
    library.annotate("law", tags=["courts"], role="control")
    library["law"] = draw_expert("law", seed=1)
    del library["sql"]
    return read_library(folder)


def make_journal(folder: Path) -> None:
    """Leave a library as a writer that was killed while it replaced an expert would."""
    make_library(folder)
    library = folder / "lib"
    write_peft(draw_expert("poetry", seed=1), library / ".lorary/tmp/0123456789abcdef0123456789abcdef")
    moves = [
        ["poetry", ".lorary/trash/fedcba9876543210fedcba9876543210"],
        [".lorary/tmp/0123456789abcdef0123456789abcdef", "poetry"],
    ]
    (library / ".lorary/trash").mkdir(exist_ok=True)
    (library / ".lorary/journal.json").write_text(json.dumps({"moves": moves}))


def read_journal(folder: Path) -> dict[str, Any]:
    """Open a library with a change that somebody left; what is refused is settled, as its message says."""
    with suppress(LibraryError):
        return read_library(folder)
    Library.settle(folder / "lib")
    return read_library(folder)


def check_journal(found: dict[str, Any]) -> None:
    """Assert that no expert was lost, whatever the journal or what was staged said."""
    check_library(found)
    lost = set(draw_experts()) - set(found["experts"])
    assert not lost, f"experts were lost: {lost}"


def read_stored(folder: Path) -> dict[str, Any]:
    """Add an adapter to a new library, and read what is there then."""
    library = Library.open(folder / "new", create=True)
    library.add(read_adapter(folder), "poetry")
    check_shown((folder / "new/poetry/README.md").read_text())
    return {"experts": _read_all(library), "entries": library.entries()}

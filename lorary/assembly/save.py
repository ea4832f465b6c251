"""Saving a routed model as one folder that another machine loads with one line."""

from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save

from lorary.assembly.folder_files import BASE, EXPERTS, hash_files
from lorary.assembly.router import complete_config
from lorary.assembly.saved_model import MATERIAL_FILE, MODEL_FILE, SavedModel
from lorary.experts.roles import GENERAL
from lorary.experts.skills import SkillSet
from lorary.facts.same_experts import check_loaded
from lorary.files import escape_markdown, quote
from lorary.library import Library
from lorary.library.skills import store_skills
from lorary.models.new_folder import new_folder
from lorary.models.plain_folder import write_plain
from lorary.models.quantized.configs import QUANTIZATIONS
from lorary.routing import router_named

if TYPE_CHECKING:
    from lorary.assembly.routed_model import RoutedModel

PACKAGES = ("lorary", "torch", "transformers")


def save_model(model: "RoutedModel", folder: str | Path, *, with_base: bool = False) -> None:
    """Write a routed model: experts, router with its options and facts, tokenizer, versions.

    ``load_model(folder)`` loads it and recomputes nothing. Tasks are kept, controls are left out. The
    folder is written completely or not at all.

    Args:
        model: the model; left as it is.
        folder: the folder to write; it must not exist or be empty.
        with_base: whether the base model is written too, for machines that cannot fetch it.

    Raises:
        LibraryError: if the folder is not empty, cannot be written, or an expert in the model's
            library has changed since the model was loaded.
        ValueError: if the base model is to be written within ``assign`` or ``routed``, or an expert is also
            one of the skills of the model's tasks.
    """
    # The experts are set aside while the base model is written.
    held = model.stack.context.lock.changing("save its base model") if with_base else model.stack.in_use()
    with held, model.facts.lock, new_folder(folder) as scratch:
        _fill(model, scratch, with_base)


def _fill(model: "RoutedModel", folder: Path, with_base: bool) -> None:
    router, options, combine = model.routing
    config = None if router is None else complete_config(router, options, model.names)
    library = Library.open(str(folder / EXPERTS), create=True)
    for name in (*model.names, *model.facts.named):
        expert = model.facts.expert(name)
        # A library may have changed since; facts about the experts would not fit the new weights.
        if name in model.names:
            check_loaded(model.stack, expert, name)
        library.add(expert, name)
    if (general := model.facts.general) is not None:
        check_loaded(model.stack, general, general.name)
        library.add(replace(general, card=replace(general.card, role=GENERAL)))
    if model.skills is not None:
        _store_skills(library, model.skills)
    model.facts.store(library)
    given = model.facts.list_given(sorted(model.names))
    material = save({key: tensor.contiguous() for key, tensor in given.items()}) if given else None
    if material is not None:
        (folder / MATERIAL_FILE).write_bytes(material)
    if model.base.known_tokenizer is not None:
        # For ``AutoTokenizer.from_pretrained(folder)``.
        model.base.known_tokenizer.save_pretrained(folder)
    if with_base:
        _save_base(model, folder / BASE)
    saved = SavedModel(
        base_model=model.base.name,
        base_revision=model.base.revision,
        base_fingerprint=model.base.fingerprint,
        dtype=str(model.model.dtype).removeprefix("torch."),
        # A base model in the folder is quantised already.
        quantization=None if with_base else _name_quantization(model),
        has_base=with_base,
        router=router,
        options={} if config is None else asdict(config),
        combine=combine,
        experts=library.weight_hashes(),
        skills=None if model.skills is None else [skill.name for skill in model.skills.skills],
        general=model.general,
        material_sha256=None if material is None else sha256(material).hexdigest(),
        has_encoder=model.facts.encoder is not None,
        versions=_list_versions(),
    )
    (folder / "README.md").write_text(render_readme(saved), encoding="utf-8")
    (folder / MODEL_FILE).write_bytes(replace(saved, files=hash_files(folder)).dump())


def _name_quantization(model: "RoutedModel") -> str | None:
    name = model.base.quantization
    if name is not None and name not in QUANTIZATIONS:
        raise ValueError(
            "a base model that was quantised by a configuration must be saved too, since its file has only "
            f"names of quantisations ({', '.join(QUANTIZATIONS)}): add with_base=True"
        )
    return name


def _store_skills(library: Library, skills: SkillSet) -> None:
    names = [skill.name for skill in skills.skills if skill.name in library]
    if names:
        raise ValueError(
            f"experts that routers choose must not be skills of the model's tasks too, found {quote(names)}: "
            "load the model with skills=None, or without these experts, to save it"
        )
    store_skills(library, skills)


def _save_base(model: "RoutedModel", folder: Path) -> None:
    with model.stack.set_aside() as base:
        write_plain(base, folder)
    model.tokenizer.save_pretrained(folder)


def _list_versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        # A package that is on the path without being installed has none.
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def render_readme(saved: SavedModel) -> str:
    """Describe a saved model for people."""
    names = "\n".join(f"- `{name}`" for name in saved.experts)
    base = escape_markdown(saved.base_model)
    where = "in `base/`" if saved.has_base else "not included"
    router = "none"
    if saved.router:
        router = f"`{saved.router}` ({router_named(saved.router).uses}), {saved.combine} combined"
    return (
        "# A model routed by lorary\n\n"
        f"{len(saved.experts)} LoRA experts on {base} ({where}). Router: {router}.\n\n"
        "```python\nimport lorary\n\n"
        'model = lorary.load_model("this/folder")\n'
        'print(model.generate("Q: Why is the sky blue?\\nA:"))\n```\n\n'
        "`experts/` is a library: each folder in it is a PEFT adapter.\n\n"
        f"## Experts\n\n{names}\n"
    )

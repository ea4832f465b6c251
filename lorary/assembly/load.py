"""Load a ready model: base model, experts and router."""

from collections.abc import Mapping
from pathlib import Path
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lorary.assembly.chosen_skills import choose_skills
from lorary.assembly.dividing import divide_changed, divide_experts, leave_out
from lorary.assembly.general import find_model_general
from lorary.assembly.open_saved import open_saved
from lorary.assembly.routed_model import RoutedModel
from lorary.assembly.tasks import make_task_experts
from lorary.assembly.tuned import find_tuned, tell_tuned
from lorary.errors import LibraryError
from lorary.experts import Expert
from lorary.experts.base_revisions import agree_on_revision
from lorary.experts.expert import identify_base
from lorary.experts.parts import require_low_rank
from lorary.experts.parts.low_rank_only import refuse_kinds
from lorary.experts.skills import SkillSet
from lorary.facts import FACTS
from lorary.facts.encoder import Encoder
from lorary.facts.fact import OnWork
from lorary.facts.fitted_library import FittedLibrary
from lorary.files import quote
from lorary.library import Library
from lorary.library.view import LibraryView
from lorary.models import COMBINES, BaseModel, attach_experts, load_base, wrap_base
from lorary.models.check_base import check_base
from lorary.models.fit_paths import fit_paths
from lorary.models.quantized.configs import QuantizationLike
from lorary.routing import DEFAULT_ROUTER, ENCODER_ROUTER, RouterConfig, configure_router


def load_model(
    base: str | Path | PreTrainedModel | BaseModel,
    experts: str | Mapping[str, Expert] | None = None,
    *,
    router: str | EllipsisType | None = ...,
    combine: str | None = None,
    controls: Mapping[str, Expert] | None = None,
    skills: SkillSet | str | EllipsisType | None = ...,
    general: Expert | str | EllipsisType | None = ...,
    facts: Mapping[str, Mapping[str, Tensor]] | None = None,
    encoder: Encoder | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    quantization: QuantizationLike | None = None,
    trust_base: bool = False,
    on_progress: OnWork | None = None,
    **options: Any,
) -> RoutedModel:
    """Attach a library's experts to their base model and set a router; or load a model of ``save_model``.

    Args:
        base: hub id, folder, ``"smollm2-135m"`` (embedded), or a loaded model. Without ``experts``, the
            folder of a saved model, which has experts, router and facts.
        experts: a library or its URL, from which the experts that routers choose
            among are used (``Library.routed``; no merges or controls); or any other mapping name -> expert,
            such as ``library.routed("merge")``, which is used completely.
        router: a key of ``ROUTERS``; None means the base model alone until ``assign`` or ``set_router``. If
            not given, ``"calibrated"`` with the options that `lorary calibrate` tuned for the library, or
            the router of the saved model; None if there are only tasks. If the base
            model has an encoder, ``"arrow"``, or ``"calibrated"`` if ``generic`` prompts are given. Routers
            choose among experts of low-rank factors; others are used by name, with one warning.
        combine: ``"outputs"`` or ``"factors"``, see ``mix``. If not given, outputs, or the setting of the
            saved model.
        controls: further experts, which ``assign`` can use by these names, but no router chooses.
        skills: skills whose tasks calls may name, ``experts={"task": name}``: a set, or the name of any skill
            of a set in the library. None for no tasks; if not given, the library's set, if it has only one.
            Each task adds one expert to the model. No router chooses it; to route among tasks, pass
            ``load_skills(library).task_experts()`` as the experts.
        general: the general expert, or its name in the library. If experts build on it (``on_top_of`` in
            their cards), it is always active for them, with weight 1; otherwise routers may fall back on it.
            If not given, the one that they build on, or the only one with the role ``"general"`` in the
            library. None for no fallback.
        facts: facts from examples of tasks that some routers need, by name in ``FACTS``. Facts of layers,
            such as ``"means"`` and ``"gates"``: module path -> ``[E, I]``. Facts of the output, such as
            ``"embeddings"``: expert -> ``[N, D]``.
        encoder: the encoder of the embeddings, texts -> ``[N, D]``; None means the base model.
        tokenizer: only for a loaded ``transformers`` model. Without it, logits and token ids work; for text
            the tokenizer is loaded by the model's ``name_or_path``, from local files only.
        revision: of a hub model; None means the one in the experts' cards.
        dtype: of the base model's weights; None means one that the hardware computes fast.
        device: None means a GPU if there is one.
        quantization: how to quantise the base model while it is loaded, see ``load_base``. A saved model has
            its own.
        trust_base: whether to accept experts for another base model, by name, revision or
            fingerprint, with a warning. Shapes of layers are always checked. A saved model needs it only to
            be built.
        on_progress: called when the model computes facts about the experts, now or for a later router,
            with a description, the number of steps done and the number of all steps (0 of 0 at the
            beginning). None writes a line to the log ``lorary`` at level INFO, or to a terminal if that log
            is not shown.
        options: of the router, such as ``top_k`` and ``temperature``: the fields of its configuration,
            ``CalibratedConfig`` for ``"calibrated"``. Facts can be given here too, such as ``means=…``.

    Returns:
        The model; it owns the base model until ``detach``.

    Raises:
        ValueError: if the router is unknown, an option is unknown or out of range, a fact that the router
            needs is not given, or an argument has no effect on this form of base model.
        LibraryError: if there is no expert and no task, or the library's skills cannot be loaded.
        IncompatibleExpert: if an expert was trained on another base model, a router is given and no expert
            has low-rank factors only, or the general expert that experts build on is missing.
        BaseModelError: if the base model cannot be loaded, or is not the saved model's.
        FormatError: if the folder of a saved model is damaged.
    """
    given = {**(facts or {}), **{name: options.pop(name) for name in list(options) if name in FACTS}}
    given = {name: rows for name, rows in given.items() if rows is not None}
    saved, kept = None, {}
    if experts is None:
        if quantization is not None:
            raise ValueError("a saved model has its own quantization: leave it out")
        saved = open_saved(base, router, combine, options, tokenizer, revision)
        base = saved.load_base(dtype, device)
        experts, router, combine, options = saved.library, saved.router, saved.combine, dict(saved.options)
        general = saved.saved.general if general is ... else general
        kept = saved.choose_material(given, encoder)
    elif isinstance(base, Path):
        base = str(base)
    combine = "outputs" if combine is None else combine
    if combine not in COMBINES:
        raise ValueError(f"combine must be one of {COMBINES}, not {quote(combine)}")
    library = Library.open(experts) if isinstance(experts, str) else experts
    if isinstance(library, Library):
        library = library.routed()
    skill_set = choose_skills(library, skills)
    has_tasks_only = skill_set is not None and not len(library)
    found = {} if has_tasks_only and router in (..., None) else _read_experts(library)
    own, named = divide_experts(found, _configure(router, options) if isinstance(router, str) else None)
    found_general = find_model_general(library, own, named, general, controls or {})
    controls = found_general.leave_out_same(controls or {})
    of_general = found_general.experts()
    for name in (*of_general, *found_general.by_name, *found_general.left_out):
        expert = own.pop(name, None) or named.pop(name, None)
        if name in found_general.by_name and expert is not None:
            named[name] = expert
    if named and not own and router not in (..., None):
        require_low_rank(named.values(), f"router {router!r}")
    is_default = router is ... and bool(own)
    router = DEFAULT_ROUTER if is_default else None if router is ... else router
    tuned = find_tuned(library, router) if is_default and saved is None else {}
    config = _configure(router, {**tuned, **options})
    others = _check_controls(controls or {}, found | of_general)
    standing = found_general.join_controls(others)
    everyone = own | of_general | named | others | make_task_experts(skill_set)
    if config is not None:
        config.check(list(own))
    if isinstance(base, str) and saved is None and revision is None and not _exists(base):
        revision = agree_on_revision({name: identify_base(expert) for name, expert in everyone.items()})
    if saved is None:
        given_here = {"tokenizer": tokenizer, "revision": revision, "dtype": dtype, "device": device}
        _refuse_unused(base, **given_here, quantization=quantization)
    loaded = _load_any_base(base, tokenizer, revision, dtype, device, quantization)
    if is_default and saved is None and loaded.is_encoder_decoder and "generic" not in options:
        router, config = ENCODER_ROUTER, _configure(ENCODER_ROUTER, options)
    # The experts of a saved model were checked, or trusted, before it was saved.
    unchecked = everyone if saved is None else controls or {}
    check_base(loaded, *unchecked.values(), trust=trust_base)
    everyone = fit_paths(loaded.model, everyone)
    if changed := divide_changed(loaded.model, {name: everyone[name] for name in own}):
        named |= {name: own.pop(name) for name in changed}
        if is_default and not own:
            router, config = None, None
        if config is not None:
            refuse_kinds({} if own else changed, f"router {router!r}")
            config.check(list(own))
        everyone = {name: everyone[name] for name in dict.fromkeys([*own, *of_general, *named, *everyone])}
    stack = attach_experts(loaded.model, everyone, general=standing)
    if isinstance(library, LibraryView):
        stack.context.left_out.update(library.list_reasons())
    stack.context.left_out.update(found_general.left_out)
    others_found = found.keys() - own.keys()
    routed = leave_out(library, others_found) if others_found else library
    fitted = _fit_library(routed, own, {name: everyone[name] for name in own})
    model = RoutedModel(loaded, stack, fitted, skill_set, on_progress)
    model.facts.named.update({name: everyone[name] for name in named})
    # The expert as it was found: with the paths of a model its weights have another hash.
    model.facts.general = next((expert.rename(name) for name, expert in of_general.items()), None)
    try:
        if saved is not None:
            saved.hand_over(model, kept, encoder)
        has_maker = any(FACTS[name].place == "output" for name in kept)
        model.provide(given, encoder=None if has_maker else encoder)
        if tuned.keys() - options.keys() and router == DEFAULT_ROUTER:
            tell_tuned(router, {name: own for name, own in tuned.items() if name not in options}, on_progress)
        model.set_router(router, config, combine)
    except BaseException:
        model.detach()
        raise
    return model


def _exists(place: str) -> bool:
    try:
        return Path(place).exists()
    except (OSError, ValueError):
        return False  # not a valid path; loading it gives the reason


def _configure(router: str | None, options: Mapping[str, Any]) -> RouterConfig | None:
    if router is not None:
        return configure_router(router, options)
    if options:
        raise ValueError(f"options need a router, found none with {', '.join(sorted(options))}")
    return None


def _read_experts(library: Mapping[str, Expert]) -> dict[str, Expert]:
    experts = dict(library.items())
    if not experts:
        where = "the given mapping"
        if isinstance(library, Library | LibraryView):
            where = f"library {quote(library.url)}"
        if isinstance(library, LibraryView) and library.left_out:
            raise LibraryError(
                f"{where} has no experts that routers choose among, only {library.describe_left_out()}: "
                "train some, or pass library.routed(include=...) with these roles"
            )
        raise LibraryError(f"{where} has no experts: train some, or add one with `lorary library add`")
    return experts


def _check_controls(controls: Mapping[str, Expert], experts: Mapping[str, Expert]) -> dict[str, Expert]:
    taken = sorted(controls.keys() & experts.keys())
    if taken:
        raise ValueError(
            f"a control must have its own name, but {taken[0]!r} is an expert too: choose another name"
        )
    return dict(controls)


def _fit_library(
    library: Mapping[str, Expert], own: Mapping[str, Expert], fitted: Mapping[str, Expert]
) -> Mapping[str, Expert]:
    """Return the mapping that has the experts in their form on the model, and their artifacts."""
    renamed = [name for name in own if fitted[name] is not own[name]]
    if not renamed:
        return library
    return FittedLibrary(library, fitted, renamed) if isinstance(library, Library | LibraryView) else fitted


def _refuse_unused(base: str | PreTrainedModel | BaseModel, **given: Any) -> None:
    """Refuse arguments for loading the base model that have no effect on this form of it."""
    used = {"revision", "dtype", "device", "quantization"} if isinstance(base, str) else {"tokenizer"}
    unused = [name for name, value in given.items() if value is not None and name not in used]
    if isinstance(base, BaseModel) and given["tokenizer"] is not None:
        unused.append("tokenizer")
    if unused:
        kind = "a base model that lorary loads" if isinstance(base, str) else "a model that is loaded already"
        raise ValueError(f"{', '.join(unused)} cannot be given for {kind}: leave it out")


def _load_any_base(
    base: str | PreTrainedModel | BaseModel,
    tokenizer: PreTrainedTokenizerBase | None,
    revision: str | None,
    dtype: torch.dtype | None,
    device: str | torch.device | None,
    quantization: QuantizationLike | None,
) -> BaseModel:
    if isinstance(base, BaseModel):
        return base
    if isinstance(base, str):
        return load_base(base, revision=revision, dtype=dtype, device=device, quantization=quantization)
    return wrap_base(base, tokenizer)

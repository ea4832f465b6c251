"""A trained mixture-of-experts router: a fact of several experts together.

P parameters of a layer.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.errors import FormatError, UnknownExpert
from lorary.facts.fact import Context, Fact, Laid, Source
from lorary.facts.fitted_library import WithArtifacts
from lorary.facts.prototypes import compute_prototypes, gather_prototypes
from lorary.facts.soundness import Artifact
from lorary.files import escape, quote
from lorary.library import Library
from lorary.library.key import Key
from lorary.models import ExpertStack
from lorary.routing.moe.packed import TrainedRouter, find_append_fault, unpack_router

ALGORITHM = "moe-router-1"
HOW = "train one with `lorary train LIBRARY --tasks … --method moe`, or give one with provide(outcome.facts)"


class StoredRouters:
    """Trained routers in a library, and given ones; see ``Joint``."""

    def load(self, context: Context, names: Sequence[str]) -> Artifact:
        """Return the library's router of the option ``trained``, or its only one; see ``Joint``."""
        if not isinstance(context.experts, WithArtifacts):
            raise ValueError(f"router 'moe' must be trained for these experts, found none: {HOW}")
        known = list_routers(context.experts, context.base.fingerprint)
        fitting = {key: own for key, own in known.items() if set(own) <= set(names)}
        titles = {str(key.parameters["name"]): key for key in fitting}
        wanted = context.options.get("trained")
        if wanted is None and len(titles) == 1:
            wanted = next(iter(titles))
        if wanted not in titles:
            asked = "one" if wanted is None else f"one named {quote(wanted)}"
            raise ValueError(
                f"router 'moe' needs {asked} that was trained for experts of the library, found "
                f"{quote(sorted(titles)) if titles else 'none'}: "
                + ("name one with the option trained" if titles else HOW)
            )
        key = titles[wanted]
        artifact = context.experts.artifacts.load(key)
        try:
            router = unpack_router(artifact or {})
            router = router.rename([*router.form.experts, *router.form.shared], fitting[key])
            _check_layers(context.stack, router)
        except (ValueError, FormatError) as error:
            raise ValueError(
                f"the trained router {quote(wanted)} in the library does not fit or is damaged, "
                f"{escape(str(error), longest=300)}: train it again"
            ) from error
        return router.pack()

    def take(self, stack: ExpertStack, names: Sequence[str], tensors: Mapping[str, Tensor]) -> Artifact:
        """Check a given router; see ``Joint``."""
        try:
            router = unpack_router(tensors)
        except FormatError as error:
            raise ValueError(str(error)) from error
        for name in (*router.form.experts, *router.form.shared):
            if name not in names:
                raise UnknownExpert(name, names, "this model")
        _check_layers(stack, router)
        return router.pack()

    def list_experts(self, artifact: Artifact) -> Sequence[str]:
        """Return its experts, routed ones first."""
        form = unpack_router(artifact).form
        return (*form.experts, *form.shared)

    def append(self, context: Context, artifact: Artifact, name: str) -> Artifact:
        """Return the router with a row of the expert's prototype times its gain; see ``Joint``."""
        found = gather_prototypes(list(compute_prototypes({name: context.experts[name]}).items()))
        rows = {path: gains[0] * prototypes[0] for path, (prototypes, gains) in found.items()}
        return unpack_router(artifact).append(name, rows).pack()

    def check_append(self, artifact: Artifact, name: str) -> None:
        """Refuse experts if the router's form has no row for a new one; see ``Joint``."""
        fault = find_append_fault(unpack_router(artifact).form)
        if fault:
            raise ValueError(f"expert {name!r} cannot be added to the trained router: {fault}")

    def leave_out(self, artifact: Artifact, names: Sequence[str]) -> Artifact:
        """Return the router without some experts; see ``Joint``."""
        if not names:
            return artifact
        try:
            return unpack_router(artifact).leave_out(names).pack()
        except ValueError as error:
            raise ValueError(
                f"the trained router is invalid without {quote(list(names))}: {error}"
            ) from error


def store_router(library: Library, router: TrainedRouter, name: str, fingerprint: str) -> None:
    """Store a trained router as an artifact of its experts, instead of an earlier one of its name.

    Args:
        library: contains its experts.
        router: the router.
        name: its name.
        fingerprint: the base model's.

    Raises:
        UnknownExpert: if the library does not have one of its experts.
        LibraryError: if the library cannot be written.
    """
    experts = [*router.form.experts, *router.form.shared]
    key = library.artifacts.make_key(ALGORITHM, {"base": fingerprint, "name": name}, experts)
    old = [other for other in list_routers(library, fingerprint) if other.parameters["name"] == name]
    library.artifacts.save(key, router.pack(), instead_of=old)


def list_routers(library: WithArtifacts, fingerprint: str) -> dict[Key, tuple[str, ...]]:
    """List the routers that were trained on a base model, and the current names of their experts."""
    return {
        key: names
        for key, names in library.artifacts.list_together(ALGORITHM).items()
        if key.parameters.get("base") == fingerprint and isinstance(key.parameters.get("name"), str)
    }


def _check_layers(stack: ExpertStack, router: TrainedRouter) -> None:
    shared = [path for path in router.layers if path in stack.layers]
    if not shared:
        raise ValueError(
            "a router must be for layers with experts, found "
            f"{quote(list(router.layers)[:3], 200)}: train it on this model"
        )
    for path in shared:
        expected = router.form.count(stack.layers[path].a.shape[2])
        if router.layers[path].numel() != expected:
            raise ValueError(
                f"the router of layer {quote(path)} must have {expected} parameters, found "
                f"{router.layers[path].numel()}: train it on this model"
            )


def _compute(context: Context, names: Sequence[str]) -> Mapping[str, Artifact]:
    raise ValueError(f"router 'moe' must be trained for these experts, found none: {HOW}")


def _unpack(context: Context, names: Sequence[str], artifacts: Sequence[Artifact]) -> Laid:
    """Return each layer's parameters ``[P]`` and the form; zeros where the router's experts add nothing."""
    router = unpack_router(artifacts[0])
    form = torch.tensor(list(router.form.dump()), dtype=torch.uint8)
    parameters = {
        path: router.layers.get(path, torch.zeros(router.form.count(layer.a.shape[2])))
        for path, layer in context.stack.layers.items()
    }
    return {"moe": parameters, "moe_form": dict.fromkeys(parameters, form)}


MOE = Fact(
    name="moe",
    source=Source.TOGETHER,
    compute=_compute,
    shapes={"moe": "P", "moe_form": "B"},
    joint=StoredRouters(),
    unpack=_unpack,
)

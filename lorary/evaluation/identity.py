"""Hashes of everything that an answer depends on, by which answers are stored.

Contents are hashed: the weights of the experts in use, and a router's tensors. Names, folders
and other experts of a library have no influence.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lorary.assembly import RoutedModel
from lorary.assembly.deciding import RequestDecider
from lorary.assembly.prompts import find_ending_ids
from lorary.assembly.router import Router
from lorary.data.endings import list_endings
from lorary.evaluation.items import Item, Prompt
from lorary.evaluation.route_experts import RouteExperts

# To be increased when the computation of an answer changes.
VERSION = 1
DIGITS = 32


class Identity:
    """The identity of answers of one model.

    Args:
        model: the model; its experts must stay the same.
    """

    def __init__(self, model: RoutedModel):
        self._model = model
        self._routers: dict[int, tuple[Router, str | None]] = {}
        self._deciders: dict[int, tuple[RequestDecider, str | None]] = {}

    def name_answer(self, experts: RouteExperts, item: Item) -> str | None:
        """Return the name of the answer to an item; None if an expert or a router has no content hash.

        Args:
            experts: of the item's route.
            item: the item.
        """
        used = self._describe_experts(experts, item)
        if used is None:
            return None
        drawn = None if item.drawn is None else vars(item.drawn)
        limits: list[Any] = [item.max_new_tokens, item.first_line, item.stops, drawn]
        if item.max_new_tokens and self._own_endings is not None:
            limits.append(self._own_endings)
        return _digest([self._base, used, item.tokens.prompt_ids, item.tokens.target_ids, limits])

    def name_choice(self, router: Router, prompt: Prompt) -> str | None:
        """Return the name of a choice that a router makes once for a prompt; None if it has no hash."""
        found = self._hash_router(router)
        return None if found is None else _digest([self._base, "choice", found, prompt])

    @cached_property
    def experts(self) -> dict[str, str | None]:
        """Name -> hash of each expert's factors; None for an expert that has more than factors."""
        stack = self._model.stack
        found: dict[str, str | None] = {}
        for place, name in enumerate(stack.names):
            if stack.kinds.get(name) or place in stack.soft_prompts.prompts:
                found[name] = None
                continue
            digest = hashlib.sha256()
            for path, layer in sorted(stack.layers.items()):
                rank = layer.a.shape[1] if layer.ranks is None else int(layer.ranks[place])
                # Without padding and layers that it does not change, which depend on the other experts.
                if rank:
                    _add(digest, (path, layer.a[place, :rank], layer.b_t[place, :rank]))
            found[name] = digest.hexdigest()[:DIGITS]
        return found

    @cached_property
    def _own_endings(self) -> list[int] | None:
        """Tokens that end answers by the model's configuration; None if the tokenizer says the same."""
        base = self._model.base
        found = find_ending_ids(base)
        taught = [] if base.known_tokenizer is None else list_endings(base.known_tokenizer)
        return None if found == sorted(taught) else found

    @cached_property
    def _base(self) -> list[Any]:
        """The inputs that every answer depends on."""
        base, general = self._model.base, self._model.stack.general
        shared = None
        if general is not None:
            shared = [
                self.experts[general.name],
                sorted(str(self.experts[name]) for name in general.standing),
            ]
        settings = getattr(base.model.config, "_attn_implementation", None)
        own = [VERSION, base.fingerprint, str(base.model.dtype), settings, shared]
        # A model that was moved to a wider dtype is not one that was loaded in it.
        rounded = [str(dtype) for dtype in self._model.stack.context.rounded]
        return [*own, rounded] if rounded else own

    def _describe_experts(self, experts: RouteExperts, item: Item) -> Any:
        known = experts.find(item)
        if known is not None:
            names = self._model.stack.names
            places, weights = known
            used = [self.experts[names[place]] for place in places]
            if None in used:
                return None
            if experts.decider is None:
                return [used, weights, experts.combine]
            # Its router may choose further for each token.
            router = self._hash_decider(experts.decider)
            return None if router is None else ["decided", used, weights, experts.combine, router]
        if experts.router is None:
            return ["base"]
        return self._hash_router(experts.router) if isinstance(experts.router, Router) else None

    def _hash_decider(self, decider: RequestDecider) -> str | None:
        if not hasattr(decider.router, "refine"):
            return ""
        if id(decider) not in self._deciders:
            digest = hashlib.sha256()
            try:
                _add(digest, (list(self.experts.values()), decider.router))
                self._deciders[id(decider)] = decider, digest.hexdigest()[:DIGITS]
            except (TypeError, RecursionError):
                self._deciders[id(decider)] = decider, None
        return self._deciders[id(decider)][1]

    def _hash_router(self, router: Router) -> str | None:
        # The router is kept alive, so that no other router gets its id.
        if id(router) not in self._routers:
            self._routers[id(router)] = router, self._compute_router(router)
        return self._routers[id(router)][1]

    def _compute_router(self, router: Router) -> str | None:
        own = list(self.experts.values())
        decides_by_text = router.decider is not None and router.decider._encoder is not None
        if None in own or decides_by_text:
            return None
        built = router.routers if router.decider is None else router.decider.router
        digest = hashlib.sha256()
        try:
            _add(digest, (router.name, router.combine, own, built))
        except (TypeError, RecursionError):
            return None
        return digest.hexdigest()[:DIGITS]


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:DIGITS]


def _add(digest: Any, value: Any) -> None:
    """Add a value's content to a hash.

    Raises:
        TypeError: if there is something in it whose content is not known.
    """
    if isinstance(value, Tensor):
        kept = value.detach().cpu().contiguous()
        digest.update(f"<{kept.dtype} {tuple(kept.shape)}>".encode())
        digest.update(kept.flatten().view(torch.uint8).numpy() if kept.numel() else b"")
    elif value is None or isinstance(value, str | int | float | bool):
        digest.update(f"<{value!r}>".encode())
    elif isinstance(value, Mapping):
        digest.update(b"<{")
        for key in value:
            _add(digest, (key, value[key]))
    elif isinstance(value, list | tuple):
        digest.update(b"<[")
        for part in value:
            _add(digest, part)
        digest.update(b"]>")
    elif hasattr(value, "__dict__"):
        digest.update(f"<{type(value).__qualname__}".encode())
        for name, part in _list_state(value):
            _add(digest, (name, part))
    else:
        raise TypeError(f"the content of a {type(value).__name__} is not known")


def _list_state(value: Any) -> Iterator[tuple[str, Any]]:
    """List the contents of an object; of a module without PyTorch's records of hooks."""
    if isinstance(value, nn.Module):
        empty = vars(nn.Module())
        yield from value.named_buffers()
        yield from value.named_parameters()
        yield from ((name, part) for name, part in sorted(vars(value).items()) if name not in empty)
    else:
        yield from sorted(vars(value).items())

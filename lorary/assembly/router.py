"""Build a router on a model from its name and options."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from lorary.assembly.deciding import RequestDecider
from lorary.experts.parts.low_rank_only import is_linear, refuse_kinds
from lorary.facts.known import Facts
from lorary.facts.material import gather_layers, gather_request
from lorary.files import quote
from lorary.models import COMBINES, ExpertStack
from lorary.routing import Choice, LayerRouters, RouterConfig, router_named
from lorary.routing.named import REQUEST_ROUTERS, TOKEN_ROUTERS


class Router(LayerRouters):
    """A router on a model, ready to be passed to its calls; made by ``RoutedModel.router``.

    Args:
        name: a key of ``ROUTERS``; None for the base model alone.
        options: its configuration; None for its defaults.
        combine: how experts are combined.
        routers: module path -> layer router, for a token router; otherwise None for each path.
        stack: the experts that it was built for.
        decider: the decider of a request router. Layers then need its plan, and
            refuse to run without one.
    """

    def __init__(
        self,
        name: str | None,
        options: RouterConfig | None,
        combine: str,
        routers: Mapping[str, nn.Module | None],
        stack: ExpertStack,
        decider: RequestDecider | None = None,
    ):
        super().__init__(routers, combine)
        self.stack = stack
        self.name = name
        self.options = options
        self.decider = decider

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice | None:
        """Choose for each token; see ``Chooser``.

        Raises:
            ValueError: if it is a request router, and no decision was made for this call.
        """
        if self.decider is not None:
            raise ValueError(
                f"router {self.name!r} chooses once per request, from the whole prompt, but layer {path!r} "
                "was called without the prompt: call model(...), model.generate or model.model(...), or name "
                "experts by model.assign"
            )
        return super().choose(path, x, rows)

    def __repr__(self) -> str:
        return f"<Router {self.name!r} with {self.options or 'its defaults'}, {self.combine} combined>"


def build_router(
    name: str | None,
    options: RouterConfig | None,
    combine: str,
    facts: Facts,
) -> Router:
    """Build a router for the experts on a model.

    Raises:
        ValueError: if the router or the way to combine is unknown, the options do not suit it or the
            experts, or a required fact was not given.
        UnknownExpert: if an option names an expert that is not on the model.
        IncompatibleExpert: if an expert has more than low-rank factors.
    """
    if combine not in COMBINES:
        raise ValueError(f"combine must be one of {COMBINES}, not {quote(combine)}")
    nobody = dict.fromkeys(facts.stack.layers)
    if name is None:
        return Router(None, None, combine, nobody, facts.stack)
    with facts.lock:
        config = complete_config(name, options, facts.names)
        kinds = {each: own for each, own in facts.stack.kinds.items() if each in facts.names}
        if not config.needs and all(is_linear(own) for own in kinds.values()):
            kinds = {}
        refuse_kinds(kinds, f"router {name!r}")
        if name in REQUEST_ROUTERS:
            decider = build_decider(name, config, facts)
            ways = getattr(decider.router, "COMBINES", COMBINES)
            if combine not in ways:
                raise ValueError(
                    f"router {name!r} combines {' or '.join(ways)}, not {combine}: it chooses components of "
                    "experts, whose factors cannot be mixed"
                )
            return Router(name, options, combine, nobody, facts.stack, decider)
        placed = facts.stack.layer_routers(build_layer_routers(name, config, facts))
        return Router(name, options, combine, placed.routers, facts.stack)


def complete_config(router: str, options: RouterConfig | None, names: Sequence[str]) -> RouterConfig:
    """Return a router's configuration, by default that of the router.

    Args:
        router: a key of ``ROUTERS``.
        options: its configuration, or None.
        names: the experts that it will choose from.

    Raises:
        ValueError: if there is no such router, the options are another router's, or they do not suit the
            experts.
        UnknownExpert: if an option names an expert that is not among them.
    """
    kind = router_named(router)
    config: RouterConfig = kind.config() if options is None else options
    if not isinstance(config, kind.config):
        raise ValueError(
            f"router {router!r} takes options of {kind.config.__name__}, found {type(config).__name__}"
        )
    config.check(names)
    return config


def build_layer_routers(router: str, config: RouterConfig, facts: Facts) -> dict[str, nn.Module]:
    """Build every layer's router, by module path.

    Raises:
        ValueError: if a required fact was not given.
    """
    found = gather_layers(facts, config.needs)
    built = {path: TOKEN_ROUTERS[router].build(config, found[path]) for path in facts.stack.layers}
    # In the layer's dtype, since otherwise each call would convert the router's buffers; a few need float32.
    return {
        path: own if getattr(own, "KEEPS_FLOAT32", False) else own.to(facts.stack.layers[path].a.dtype)
        for path, own in built.items()
    }


def build_decider(
    router: str,
    config: RouterConfig,
    facts: Facts,
) -> RequestDecider:
    """Build the decider of a request router.

    Raises:
        ValueError: if a required fact was not given.
    """
    built = REQUEST_ROUTERS[router].build(config, gather_request(facts, config.needs))
    return RequestDecider(facts.stack, built, facts.base, len(facts.names), facts.encoder)

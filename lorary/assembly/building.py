"""From a router's name and options to routers on a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedTokenizerBase

from lorary.assembly.deciding import RequestDecider
from lorary.assembly.material import Materials
from lorary.files import quote
from lorary.models import COMBINES
from lorary.routing import REQUEST_ROUTERS, TOKEN_ROUTERS, RouterConfig, router_named


@dataclass(frozen=True, kw_only=True, eq=False)
class Charge:
    """Who routes, built and ready."""

    router: str | None = None
    """A key of ``ROUTERS``; None for nobody."""
    options: RouterConfig | None = None
    """The router's configuration; None for its defaults."""
    combine: str = "outputs"
    """How experts are put together."""
    routers: Mapping[str, nn.Module] | None = None
    """Module path -> layer router, if it decides per token."""
    decider: RequestDecider | None = None
    """What decides, if that is done per request."""


def build_charge(
    router: str | None,
    options: RouterConfig | None,
    combine: str,
    materials: Materials,
    tokenizer: PreTrainedTokenizerBase,
) -> Charge:
    """Build who is to route.

    Raises:
        ValueError: if the router or the way to combine is unknown, the options do not suit it or the experts,
            or something had to be given and was not.
        UnknownExpert: if an option names an expert that is not on the model.
    """
    if combine not in COMBINES:
        raise ValueError(f"combine must be one of {COMBINES}, not {quote(combine)}")
    if router is None:
        return Charge(combine=combine)
    with materials.lock:
        config = find_config(router, options, materials.names)
        routers = decider = None
        if router in REQUEST_ROUTERS:
            decider = build_decider(router, config, materials, tokenizer)
        else:
            routers = build_layer_routers(router, config, materials)
    return Charge(router=router, options=options, combine=combine, routers=routers, decider=decider)


def find_config(router: str, options: RouterConfig | None, names: Sequence[str]) -> RouterConfig:
    """Give a router's configuration, the default one if there is none.

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


def build_layer_routers(router: str, config: RouterConfig, materials: Materials) -> dict[str, nn.Module]:
    """Build every layer's router, by module path.

    Raises:
        ValueError: if something had to be given and was not.
    """
    found = materials.gather(config)
    # In the layer's dtype, or each call would convert what the router multiplies with.
    return {
        path: TOKEN_ROUTERS[router].build(config, found[path]).to(layer.a.dtype)
        for path, layer in materials.stack.layers.items()
    }


def build_decider(
    router: str,
    config: RouterConfig,
    materials: Materials,
    tokenizer: PreTrainedTokenizerBase,
) -> RequestDecider:
    """Build what decides once per request.

    Raises:
        ValueError: if something had to be given and was not.
    """
    built = REQUEST_ROUTERS[router].build(config, materials.gather_request(config))
    return RequestDecider(materials.stack, built, tokenizer, materials.encoder)

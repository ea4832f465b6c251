"""From a router's name and options to routers on a model."""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedTokenizerBase

from lorary.assembly.deciding import Encoder, RequestDecider
from lorary.assembly.material import Materials
from lorary.routing import REQUEST_ROUTERS, TOKEN_ROUTERS, RouterConfig, router_named


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
    encoder: Encoder | None,
) -> RequestDecider:
    """Build what decides once per request.

    Raises:
        ValueError: if something had to be given and was not.
    """
    built = REQUEST_ROUTERS[router].build(config, materials.gather_request(config))
    return RequestDecider(materials.stack, built, tokenizer, encoder)

"""A routed model without experts, for what measures routed models."""

from lorary.assembly.routed_model import RoutedModel
from lorary.models import BaseModel, ExpertStack
from lorary.models.routing_context import RoutingContext


def make_bare_model(base: BaseModel) -> RoutedModel:
    """Make a routed model that answers as its base model, since it has no experts."""
    return RoutedModel(base, ExpertStack(base.model, (), {}, RoutingContext()), {})

"""Finding the arguments that a chat template uses."""

import inspect
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from jinja2 import Environment, TemplateSyntaxError
from jinja2.defaults import DEFAULT_NAMESPACE
from jinja2.meta import find_undeclared_variables

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# A tag around an assistant's answer that only transformers has; Jinja cannot parse it.
_GENERATION = re.compile(r"{%-?\s*(?:end)?generation\s*-?%}")
_FUNCTIONS = {"raise_exception", "strftime_now"}


def list_given(tokenizer: "PreTrainedTokenizerBase") -> set[str]:
    """List the names that are set from the data and the tokenizer when a template is rendered."""
    own = inspect.signature(tokenizer.apply_chat_template).parameters
    return {*own, "messages", *tokenizer.special_tokens_map, *_FUNCTIONS, *DEFAULT_NAMESPACE}


def list_arguments(sources: Iterable[str], given: Iterable[str]) -> set[str] | None:
    """List the arguments that templates use.

    Args:
        sources: texts of templates.
        given: names that do not count as arguments.

    Returns:
        Their names; None if a template cannot be parsed.
    """
    environment = Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False)
    try:
        trees = [environment.parse(_GENERATION.sub("", source)) for source in sources]
    except (TemplateSyntaxError, RecursionError):
        return None
    return {name for tree in trees for name in find_undeclared_variables(tree)} - set(given)

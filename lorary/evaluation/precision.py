"""The precision of an evaluation, as settings of its header and in words."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lorary.files import escape

if TYPE_CHECKING:  # pages of results are written without PyTorch
    from lorary.models import BaseModel

EXACT = "float32"


def describe_precision(base: "BaseModel") -> dict[str, Any]:
    """Return the settings of a header that describe the precision of a base model.

    Returns:
        ``dtype``; ``quantization``, a name or None; ``device``.
    """
    return {
        "dtype": str(base.model.dtype).removeprefix("torch."),
        "quantization": base.quantization,
        "device": str(base.model.device),
    }


def say_precision(headers: tuple[Mapping[str, Any], ...]) -> str | None:
    """Describe the precision of results; None if no header has it.

    Args:
        headers: those of a ``Result``, which are untrusted.
    """
    found = dict.fromkeys(_list_precisions(headers))
    return f"measured in {' and '.join(found)}" if found else None


def find_batch_note(headers: tuple[Mapping[str, Any], ...]) -> str | None:
    """Return a note if answers may depend on the batch, in less than float32."""
    short = dict.fromkeys(
        dtype for settings in _list_settings(headers) if (dtype := settings.get("dtype")) not in (None, EXACT)
    )
    if not short:
        return None
    names = " and ".join(escape(str(dtype), longest=20) for dtype in short)
    return f"in {names}, an answer may depend on the other examples of its batch; {EXACT} is the default"


def _list_precisions(headers: tuple[Mapping[str, Any], ...]) -> Iterator[str]:
    for settings in _list_settings(headers):
        if settings.get("dtype"):
            words = [settings["dtype"]]
            words += (
                [f"weights quantised by {settings['quantization']}"] if settings.get("quantization") else []
            )
            # Of a model that was moved to a wider dtype.
            if isinstance(rounded := settings.get("rounded"), list):
                words += [f"weights rounded to {' and '.join(map(str, rounded))}"]
            yield escape(", ".join(map(str, words)), longest=80)


def _list_settings(headers: tuple[Mapping[str, Any], ...]) -> Iterator[Mapping[str, Any]]:
    for header in headers:
        settings = header.get("settings")
        if isinstance(settings, Mapping):
            yield settings

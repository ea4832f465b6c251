"""Module paths of a text model, alone and within a multimodal model."""

TEXT_MODEL = "language_model"
"""Name of the text model within classes for text and images; classes for text have no such module."""


def leave_out_text_model(path: str) -> str:
    """Remove the text model's name from a path, so that a layer has the same path in both classes."""
    return ".".join(part for part in path.split(".") if part != TEXT_MODEL)

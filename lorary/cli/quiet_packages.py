"""Switch off log messages of optional packages that ``transformers`` imports, in every command."""

import logging

# torchao warns of its compiled operators for other processors, PyTorch of how torchao registers its types.
_NOISY = ("torchao", "torch.utils._pytree")


def quiet_packages() -> None:
    """Let these loggers report errors only."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)

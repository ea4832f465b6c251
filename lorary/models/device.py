"""The device of a base model: checked before weights are read."""

import torch

from lorary.files import escape, quote


def choose_device(device: str | int | torch.device | None) -> torch.device:
    """Return the device to use; None means a GPU if there is one, otherwise the CPU.

    Raises:
        ValueError: if this machine has no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # Names alone prove nothing: torch.device accepts "meta" and back ends that this build lacks.
        torch.zeros(1, device=device).item()
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(
            f"device must be a device of this machine, such as cpu or cuda:1, found {quote(str(device), 60)} "
            f"({escape(' '.join(str(error).split()), longest=200)})"
        ) from error

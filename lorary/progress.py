"""Progress bars for Python sessions and notebooks: one function for every ``on_progress``."""

from types import TracebackType
from typing import Any, Self

from tqdm.auto import tqdm

__all__ = ["ProgressBar"]


class ProgressBar:
    """A bar that every ``on_progress`` of this package can call, in a terminal or a notebook.

    ``with ProgressBar("training") as bar: train_experts(…, on_progress=bar)``. Without ``with``, the bar is
    closed when all is done.

    Args:
        what: the text before the bar.
    """

    def __init__(self, what: str = ""):
        self._what = what
        self._bar: Any = None

    def __call__(self, *progress: Any) -> None:
        """Show an event of training or evaluation, or the numbers of done and all steps, after a text."""
        done, total, note = _read_progress(progress)
        if self._bar is None:
            self._bar = tqdm(total=total or None, desc=self._what or None)
        if total:
            self._bar.total = total
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.n = done
        self._bar.refresh()
        if total and done >= total:
            self.close()

    def close(self) -> None:
        """Close the bar; the next call opens another one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_progress(progress: tuple[Any, ...]) -> tuple[int, int, str]:
    """Return the amount done, the total, and a note."""
    if len(progress) == 3:
        return progress[1], progress[2], str(progress[0])
    if len(progress) == 2:
        return progress[0], progress[1], ""
    (event,) = progress
    if hasattr(event, "num_steps"):
        losses = list(event.losses.values())
        note = f"loss {sum(losses) / len(losses):.2f}" if losses else ""
        return event.num_steps, event.total_steps, note
    return event.num_done, event.num_total, str(event.route)

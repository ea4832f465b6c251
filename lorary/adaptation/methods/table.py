"""The table of methods. A new one is a file and a line here."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lorary.adaptation.methods.contract import Context, NewTask, Start, Trained

RETRIEVAL_SETTINGS = ("retrieve", "by", "num_read")
START_SETTINGS = (*RETRIEVAL_SETTINGS, "train_general")


@dataclass(frozen=True, kw_only=True)
class Method:
    """An entry of the table."""

    file: str
    """Module below ``lorary.adaptation.methods``, imported when the method is first used."""
    summary: str
    """A short description of the method, for help texts."""
    kind: Literal["start", "training"] = "start"
    """A 'start' finds an expert to fine-tune; a 'training' makes the new experts itself."""
    settings: tuple[str, ...] = ()
    """Fields of ``AdaptConfig`` that it uses, besides method, train and rank."""
    needs_scores: bool = False
    """Whether the experts are sorted by retrieval even if all are used."""
    needs_generic: bool = False
    """Whether it needs generic texts, which a base model with an encoder cannot write itself."""

    @property
    def uses_experts(self) -> bool:
        """Whether it chooses from the experts of the library."""
        return "retrieve" in self.settings

    def find_starts(self, context: "Context", tasks: Mapping[str, "NewTask"]) -> "Mapping[str, Start]":
        """Call ``find_starts`` of a method of kind 'start': task -> start of its training."""
        found: Mapping[str, Start] = self._load("find_starts")(context, tasks)
        return found

    def train(self, context: "Context", tasks: Mapping[str, "NewTask"]) -> "Mapping[str, Trained]":
        """Call ``train`` of a method of kind 'training': task -> its expert."""
        found: Mapping[str, Trained] = self._load("train")(context, tasks)
        return found

    def _load(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(import_module(f"lorary.adaptation.methods.{self.file}"), name)


def _skills(summary: str, *settings: str) -> Method:
    return Method(
        file="skills",
        summary=summary,
        kind="training",
        settings=(
            *RETRIEVAL_SETTINGS,
            "skills",
            "granularity",
            "table_learning_rate",
            "protocol",
            *settings,
        ),
    )


METHODS: dict[str, Method] = {
    "fresh": Method(file="fresh", summary="a new LoRA on the examples alone, as a control"),
    "nearest": Method(
        file="nearest",
        summary="the expert that fits the examples best, fine-tuned",
        settings=START_SETTINGS,
        needs_scores=True,
    ),
    "average": Method(file="average", summary="the mean of the experts, fine-tuned", settings=START_SETTINGS),
    "wudi": Method(file="wudi", summary="their WUDI merge, fine-tuned", settings=START_SETTINGS),
    "arrow": Method(
        file="arrow",
        summary="the experts with Arrow's weights in each layer, fine-tuned",
        settings=START_SETTINGS,
    ),
    "calibrated": Method(
        file="calibrated",
        summary="the experts with the calibrated router's weights, fine-tuned",
        settings=START_SETTINGS,
        needs_generic=True,
    ),
    "lorahub": Method(
        file="lorahub",
        summary="weights of the experts, found without gradients",
        kind="training",
        settings=(*RETRIEVAL_SETTINGS, "limit", "penalty", "mixed_rank"),
    ),
    "weights": Method(
        file="weights",
        summary="weights of the experts, trained",
        kind="training",
        settings=(*RETRIEVAL_SETTINGS, "granularity", "weights_learning_rate", "mixed_rank"),
    ),
    "poly": _skills("the experts as Polytropon's skills: skills and table trained", "weighting"),
    "poly-z": _skills("as poly, only the table trained", "weighting"),
    "poly-mu": _skills("as poly, the mean of the skills trained"),
    "mhr": _skills("as poly, with several splits (MHR)", "weighting", "num_splits"),
    "mhr-z": _skills("as poly-z, with several splits", "weighting", "num_splits"),
    "mhr-mu": _skills("as poly-mu, for skills with several splits", "num_splits"),
    "poly-scratch": Method(
        file="skills",
        summary="new skills of Polytropon on the examples alone, as a control",
        kind="training",
        settings=("granularity", "table_learning_rate", "protocol", "weighting", "num_skills"),
    ),
    "mhr-scratch": Method(
        file="skills",
        summary="as poly-scratch, with several splits",
        kind="training",
        settings=(
            "granularity",
            "table_learning_rate",
            "protocol",
            "weighting",
            "num_skills",
            "num_splits",
        ),
    ),
    "multi-task": Method(
        file="multi_task",
        summary="an expert of all tasks, fine-tuned, as a control",
        settings=("multi_task",),
    ),
}
"""Methods by name, in the order of help texts."""

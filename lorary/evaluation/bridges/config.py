"""How tasks of lm-evaluation-harness are run."""

from dataclasses import dataclass

# Fields of ``EvalConfig`` that tasks of the harness use.
USED = ("num_examples", "seed", "tokens_per_pass", "batch_size")


@dataclass(frozen=True, kw_only=True)
class HarnessConfig:
    """How tasks of lm-evaluation-harness are run."""

    num_fewshot: int | None = None
    """Examples before each question; null: each task's own number. A task whose own number is 0 keeps it."""
    max_length: int | None = None
    """Maximum tokens that the model reads; null: as many as its configuration says."""
    max_new_tokens: int | None = None
    """Maximum tokens of a generated answer; null: each task's own. Fewer are faster, but no longer the
    harness's numbers."""

    def __post_init__(self) -> None:
        for name, least in (("num_fewshot", 0), ("max_length", 2), ("max_new_tokens", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise ValueError(f"{name} must be a whole number of at least {least}, found {value!r}")

"""What the quickstart found, kept for the next call; reading it needs neither the model nor PyTorch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lorary.cli.quickstart_steps.plan import QuickstartPlan
from lorary.evaluation import Result, RoutedSample, RoutedToken


@dataclass(frozen=True)
class Outcome:
    """What the quickstart found."""

    result: Result
    """The comparison."""
    samples: tuple[RoutedSample, ...]
    """Answers of the routed model, with the experts of each token."""
    seconds: float
    """How long it took."""


def load_outcome(plan: QuickstartPlan, out: Path) -> Outcome | None:
    """Read what an earlier run of the same plan found; None if there is none."""
    record = out / "outcome.json"
    if not record.exists() or not (out / "results.json").exists():
        return None
    saved = json.loads(record.read_text())
    if saved["plan"] != json.loads(json.dumps(asdict(plan))):
        return None
    samples = tuple(
        RoutedSample(sample["task"], _read_tokens(sample["prompt"]), _read_tokens(sample["answer"]))
        for sample in saved["samples"]
    )
    return Outcome(Result.from_json(out / "results.json"), samples, saved["seconds"])


def save_outcome(plan: QuickstartPlan, outcome: Outcome, out: Path) -> None:
    """Write what was found, for the next call to show."""
    outcome.result.to_json(out / "results.json")
    record = {
        "plan": asdict(plan),
        "seconds": outcome.seconds,
        "samples": [asdict(sample) for sample in outcome.samples],
    }
    (out / "outcome.json").write_text(json.dumps(record, ensure_ascii=False))


def _read_tokens(tokens: list[dict[str, object]]) -> tuple[RoutedToken, ...]:
    return tuple(
        RoutedToken(str(token["text"]), tuple((str(name), float(share)) for name, share in token["experts"]))  # type: ignore[attr-defined]
        for token in tokens
    )

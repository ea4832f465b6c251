"""The description of an expert in a library's listing, made without opening its weights."""

from dataclasses import dataclass
from typing import Any

from lorary.experts import BaseIdentity, ExpertCard
from lorary.experts.base_names import compare_bases
from lorary.experts.peft_config import CONFIG_FILE, parse_adapter_config
from lorary.experts.peft_features import guess_kinds
from lorary.experts.sidecar import SIDECAR_FILE, Sidecar, parse_sidecar
from lorary.files import parse_json_object

ADVICE = "restore it or delete its folder"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a library's listing.

    Fields that only ``expert.json`` has are ``None`` for a plain PEFT adapter that was copied in by hand.
    """

    name: str
    """The folder's name, which is the expert's name."""
    base_model: str
    """The model it was trained on; empty if the adapter does not name it."""
    card: ExpertCard
    """Its card; empty for a plain PEFT adapter."""
    num_parameters: int | None
    """Number of its weights."""
    num_modules: int | None
    """Number of modules that it changes."""
    max_rank: int | None
    """The largest rank over its modules; 0 without low-rank factors."""
    dtype: str | None
    """Dtype of its weights, such as ``"bfloat16"``."""
    kinds: tuple[str, ...] | None
    """Kinds of its parts, see ``lorary.experts.parts``; empty for low-rank factors only."""
    weights_sha256: str | None
    """Stored hash of its weights file; without it ``verify`` cannot detect a change of the file."""
    config_sha256: str | None
    """Stored hash of its configuration; without it ``verify`` cannot detect a change of the file."""

    @property
    def own_tasks(self) -> tuple[str, ...]:
        """The tasks that it was trained on; if the card has none, the task of the expert's name."""
        return self.card.tasks or (self.name,)

    def matches(self, task: str | None, base: str | None, tag: str | None, role: str | None = None) -> bool:
        """Return whether this expert has the task, the base model, the tag and the role.

        ``None`` matches anything.
        """
        return (
            (task is None or task in self.card.tasks)
            and (base is None or self._is_for(base))
            and (tag is None or tag in self.card.tags)
            and role in (None, self.card.role)
        )

    def _is_for(self, base: str) -> bool:
        if not base or not self.base_model:
            return base == self.base_model
        return compare_bases(BaseIdentity(base), BaseIdentity(self.base_model)).fits


def parse_entry(name: str, path: str, sidecar: bytes | None, config: bytes | None) -> Entry:
    """Parse an expert's small files.

    Args:
        name: the folder's name.
        path: the folder's path, for messages.
        sidecar: the bytes of ``expert.json``; None if there is none.
        config: the bytes of ``adapter_config.json``; used only if there is no sidecar.

    Raises:
        FormatError: if the file is invalid.
    """
    if sidecar is not None:
        return _describe(name, parse_sidecar_bytes(sidecar, f"{path}/{SIDECAR_FILE}"))
    config_path = f"{path}/{CONFIG_FILE}"
    return _describe_plain(name, parse_json_object(config or b"", config_path, ADVICE), config_path)


def parse_sidecar_bytes(content: bytes, path: str) -> Sidecar:
    """Parse the bytes of an ``expert.json``; a ``FormatError`` names ``path``."""
    return parse_sidecar(parse_json_object(content, path, ADVICE), path)


def _describe(name: str, sidecar: Sidecar) -> Entry:
    summary = sidecar.summary
    return Entry(
        name=name,
        base_model=sidecar.base_model,
        card=sidecar.card,
        num_parameters=summary.num_parameters if summary else None,
        num_modules=summary.num_modules if summary else None,
        max_rank=summary.max_rank if summary else None,
        dtype=summary.dtype if summary else None,
        kinds=summary.kinds if summary else None,
        weights_sha256=sidecar.weights_sha256,
        config_sha256=sidecar.config_sha256,
    )


def _describe_plain(name: str, settings: dict[str, Any], path: str) -> Entry:
    # Adapters of other types are listed too; reading one raises an error that explains why it cannot be used.
    is_lora = settings.get("peft_type") == "LORA"
    config = parse_adapter_config(settings, path)
    return Entry(
        name=name,
        base_model=config.base_model,
        card=ExpertCard(
            base_revision=config.revision, fan_in_fan_out=config.fan_in_fan_out, task_type=config.task_type
        ),
        num_parameters=None,
        num_modules=None,
        max_rank=max([config.rank, *(rank for _, rank in config.rank_pattern)]) if is_lora else None,
        dtype=None,
        kinds=guess_kinds(settings),
        weights_sha256=None,
        config_sha256=None,
    )

"""PEFT's configurations of adapters: by a kind's name, from a file, and as JSON values."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    PromptTuningInit,
    ShiraConfig,
)
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from lorary.errors import DataError, UnsupportedAdapter, suggest
from lorary.experts.peft_features import ACCEPTED_SETTINGS
from lorary.files import quote
from lorary.files.yaml_text import read_yaml_documents
from lorary.models import BaseModel, find_layers
from lorary.training.config import TrainConfig
from lorary.training.peft_kinds import KINDS

# Of PEFT's own files, or filled in by PEFT when it wraps a model.
_VOLATILE = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision")


def make_peft_config(kind: str, base: BaseModel, config: TrainConfig) -> PeftConfig:
    """Make PEFT's configuration of a kind, with rank, alpha and layers of a training's configuration.

    Args:
        kind: a key of ``KINDS``.
        base: the base model.
        config: the configuration. Soft prompts have as many virtual tokens as its rank.

    Raises:
        ValueError: if there is no such kind.
        IncompatibleExpert: if no layer is selected.
    """
    if kind not in KINDS:
        raise ValueError(
            f"kind must be one of {', '.join(KINDS)}, found {quote(kind, 60)}: {suggest(kind, KINDS)}"
        )
    is_prompt = KINDS[kind].is_prompt
    layers = [] if is_prompt else list(find_layers(base.model, config.target_modules))
    return _MAKERS[kind](layers, config, base.task_type)


_Maker = Callable[[list[str], TrainConfig, str], PeftConfig]
_MAKERS: Mapping[str, _Maker] = {
    "dora": lambda layers, config, task: LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        use_rslora=config.use_rslora,
        use_dora=True,
        target_modules=layers,
        task_type=task,
    ),
    "ia3": lambda layers, config, task: IA3Config(
        target_modules=layers, feedforward_modules=[], task_type=task
    ),
    "shira": lambda layers, config, task: ShiraConfig(
        r=config.rank, target_modules=layers, random_seed=config.seed, task_type=task
    ),
    "prompt": lambda layers, config, task: PromptTuningConfig(
        num_virtual_tokens=config.rank, prompt_tuning_init=PromptTuningInit.RANDOM, task_type=task
    ),
    "prefix": lambda layers, config, task: PrefixTuningConfig(num_virtual_tokens=config.rank, task_type=task),
}


def read_peft_config(path: str, base: BaseModel) -> PeftConfig:
    """Read PEFT's configuration from a JSON or YAML file with ``peft_type`` and the settings of that type.

    Args:
        path: the file, such as an ``adapter_config.json``.
        base: the base model, whose task type is used if the file has none.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if it is not YAML or JSON, or too large.
        DataError: if it has no known type, or settings that the type does not have, with all of them.
        UnsupportedAdapter: if experts cannot have its type.
    """
    (content, *more) = read_yaml_documents(path)
    if more or not isinstance(content, Mapping) or not isinstance(content.get("peft_type"), str):
        raise DataError(
            f"a PEFT configuration must map settings to values, with peft_type, found {quote(content, 60)} "
            f"in {quote(path)}"
        )
    given = {str(key): value for key, value in content.items()}
    kind = given.pop("peft_type").upper()
    check_peft_kind(kind)
    known = PEFT_TYPE_TO_CONFIG_MAPPING[kind]
    settings = {key: value for key, value in given.items() if key not in _VOLATILE and key != "task_type"}
    fields = known.__dataclass_fields__
    unknown = [
        f"unknown setting {quote(key, 60)}: {suggest(key, fields)}" for key in settings if key not in fields
    ]
    if unknown:
        raise DataError(f"PEFT configuration {quote(path)}: {'; '.join(unknown)}")
    try:
        found: PeftConfig = known(**settings, task_type=given.get("task_type") or base.task_type)
    except (TypeError, ValueError) as error:
        raise DataError(f"PEFT configuration {quote(path)}: {error}") from error
    return found


def check_peft_kind(kind: str) -> None:
    """Refuse a type of adapters that experts cannot have.

    Raises:
        UnsupportedAdapter: naming the known types.
    """
    if kind not in ACCEPTED_SETTINGS:
        raise UnsupportedAdapter(
            f"the adapter must be of a type that experts can have, {', '.join(ACCEPTED_SETTINGS)}, found "
            f"{quote(kind, 60)}: choose one of these"
        )


def describe_peft_config(config: PeftConfig) -> dict[str, Any]:
    """Describe a configuration in JSON values, without what depends on PEFT's version or on the model."""
    found = {key: value for key, value in config.to_dict().items() if key not in _VOLATILE}
    described: dict[str, Any] = json.loads(json.dumps(found, default=_simplify, sort_keys=True))
    return described


def _simplify(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(getattr(value, "value", value))

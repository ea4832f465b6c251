"""The inputs of trainings, from the options: configuration, examples, and the form of their prompts."""

from jsonargparse import Namespace

from lorary.cli.tasks import read_task_template
from lorary.cli.template_options import read_template_args
from lorary.data import Task
from lorary.models import BaseModel
from lorary.training import TrainConfig, TrainingExamples, prepare_examples

DEFAULT_EPOCHS = 3.0


def read_training_options(options: Namespace) -> TrainConfig:
    """Build the configuration, with ``DEFAULT_EPOCHS`` if no bound is given.

    Raises:
        ValueError: with all invalid settings.
    """
    given = dict(vars(options.training))
    if all(given[name] is None for name in ("epochs", "max_steps", "max_tokens")):
        given["epochs"] = DEFAULT_EPOCHS
    return TrainConfig(**given)


def prepare_all(
    options: Namespace,
    base: BaseModel,
    experts: dict[str, Task],
    config: TrainConfig,
) -> dict[str, TrainingExamples]:
    """Tokenise the examples of each expert."""
    return prepare_examples(
        base.tokenizer,
        experts,
        read_task_template(options),
        max_length=options.max_length,
        truncation=options.truncation,
        max_validation_examples=config.max_validation_examples,
        is_encoder_decoder=base.is_encoder_decoder,
    )


def describe_prompts(options: Namespace) -> dict[str, object]:
    """Describe how examples became prompts, for the experts' cards."""
    template_args = read_template_args(options.template_args)
    return {
        "template": options.template,
        **({"template_args": template_args} if template_args else {}),
        "with_definition": options.with_definition,
        "max_length": options.max_length,
        "truncation": options.truncation,
    }

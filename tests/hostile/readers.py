"""Every reader of lorary, one entry each: whoever adds a reader adds a line here and is tried by all kinds."""

from lorary.errors import LoraryError

from tests.hostile import library_inputs as library
from tests.hostile import model_inputs as model
from tests.hostile import text_inputs as text
from tests.hostile.reader import Reader, check_expert, digest_expert

WITH_ARGUMENTS = (LoraryError, OSError, ValueError)
"""A recipe is an argument in a file: what is wrong in it is said with a ``ValueError``."""
COMMANDS = ()
"""A command explains everything itself and raises nothing."""
PRIVATE = tuple(f"lib/{place}" for place in (*library.PRIVATE_PLACES, *library.LOCKS))
SAVED_PRIVATE = tuple(f"model/experts/{place}" for place in library.PRIVATE_PLACES)
SAVED = ("model/experts/*", "model/base/*", "model/material.safetensors")
ROUTERS = {
    "arrow": model.make_saved("arrow", top_k=2),
    "spectr": model.make_saved("spectr", top_k=2),
    "lag": model.make_saved("lag", top_k=1),
    "uniform": model.make_saved("uniform"),
    "calibrated": model.make_saved("calibrated"),
    "means": model.make_saved("mean_activation", given=("means",)),
    "gates": model.make_saved("phatgoose", given=("gates",)),
}

# fmt: off
ENTRIES = [
    Reader(name="adapter", room="experts", make=library.make_adapter, read=library.read_adapter, check=check_expert, plants=("poetry/adapter_model.bin",)),
    Reader(name="plain-adapter", room="experts", make=library.make_plain_adapter, read=library.read_adapter, check=check_expert, plants=("poetry/expert.json",)),
    Reader(name="library", room="library", make=library.make_library, read=library.read_library, check=library.check_library, answer=library.answer_library, sealed=("*/adapter_model.safetensors",), plants=PRIVATE, cost=2),
    Reader(name="verify", room="library", make=library.make_library, read=library.read_verified, check=library.check_verified, answer=library.answer_verified, sealed=("*/adapter_model.safetensors", "*/adapter_config.json", "*/artifacts/*"), plants=PRIVATE, cost=2),
    Reader(name="prototypes", room="library", make=library.make_library, read=library.read_prototypes, check=library.check_prototypes, answer=library.answer_prototypes, sealed=("*/artifacts/*",), plants=PRIVATE, cost=2),
    Reader(name="prune", room="library", make=library.make_library, read=library.read_pruned, check=library.check_library, answer=library.answer_library, sealed=("*/artifacts/*",), plants=PRIVATE, cost=2),
    Reader(name="journal", room="library", make=library.make_journal, read=library.read_library, check=library.check_journal, targets=("*/journal.json", "*/tmp*", "*/trash*", "*/library.json"), plants=PRIVATE, cost=2),
    Reader(name="add", room="library", make=library.make_adapter, read=library.read_stored, check=library.check_library, cost=2),
    *(Reader(name=f"saved-{name}", room="assembly", make=make, read=model.read_saved, check=model.check_saved, answer=model.answer_saved, sealed=SAVED, plants=SAVED_PRIVATE, cost=12) for name, make in ROUTERS.items()),
    Reader(name="base", room="models", make=model.make_base, read=model.read_base, check=model.check_base_model, cost=5),
    Reader(name="artifact-cache", room="assembly", make=model.make_artifact_cache, read=model.read_artifact_cache, check=model.check_saved, answer=model.answer_saved, cost=6),
    Reader(name="kernel-cache", room="kernels", make=model.make_kernel_cache, read=model.read_kernel_cache, check=model.check_mixed, answer=model.answer_mixed, sealed=("*",), plants=("kernels",), cost=4),
    Reader(name="run", room="training", make=model.make_run, read=model.resume_run, check=model.check_outcome_of_run, answer=model.answer_run, sealed=("*",), plants=("run/finished", "run/run.lock", "run/state.writing"), cost=6),
    *(Reader(name=f"task-{name}", room="data", make=text.write_lines(name), read=text.read_task_at("task.jsonl"), check=text.check_task) for name in text.ROWS),
    *(Reader(name=f"task-{name}", room="data", make=text.write_lines("pair", *pack), read=text.read_task_at(f"task.jsonl.{name}"), check=text.check_task) for name, pack in text.PACKS.items()),
    Reader(name="task-list", room="data", make=text.write_list, read=text.read_task_at("task.json"), check=text.check_task),
    Reader(name="task-document", room="data", make=text.write_document, read=text.read_task_at("task.json"), check=text.check_task),
    Reader(name="recipe", room="transforms", make=text.make_recipe_file, read=text.read_and_merge, check=check_expert, raises=WITH_ARGUMENTS, cost=2),
    Reader(name="result", room="evaluation", make=text.make_result, read=text.read_result_file, check=text.check_result),
    Reader(name="outcome", room="cli", make=text.make_outcome, read=text.read_outcome, check=text.check_outcome),
    Reader(name="lorary-library", room="cli", make=library.make_library, read=text.look_at_library, check=text.check_ran, raises=COMMANDS, plants=PRIVATE, cost=8),
    Reader(name="lorary-add", room="cli", make=library.make_adapter, read=text.add_to_library, check=text.check_ran, raises=COMMANDS, cost=4),
    Reader(name="lorary-config", room="cli", make=text.make_listing_options, read=text.list_by_options, check=text.check_ran, raises=COMMANDS, cost=4),
    Reader(name="lorary-train", room="cli", make=text.make_training_options, read=text.plan_training, check=text.check_ran, raises=COMMANDS, cost=6),
    Reader(name="lorary-settings", room="cli", make=text.make_training_settings, read=text.plan_by_settings, check=text.check_ran, raises=COMMANDS, cost=6),
    Reader(name="lorary-tasks", room="cli", make=text.make_task_folder, read=text.train_task_folder, check=text.check_ran, raises=COMMANDS, cost=6),
    Reader(name="lorary-merge", room="cli", make=text.make_merge_options, read=text.merge_on_command, check=text.check_ran, raises=COMMANDS, cost=6),
    Reader(name="lorary-generate", room="cli", make=ROUTERS["arrow"], read=model.generate_on_command, check=text.check_ran, raises=COMMANDS, cost=14),
]
# fmt: on
READERS = {entry.name: entry for entry in ENTRIES}

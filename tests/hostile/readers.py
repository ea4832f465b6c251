"""Every reader of lorary, one entry each: whoever adds a reader adds one here and is tried by all kinds."""

from functools import partial

from lorary.errors import LoraryError
from tests.hostile import command_inputs as command
from tests.hostile import library_inputs as library
from tests.hostile import model_inputs as model
from tests.hostile import task_inputs as task
from tests.hostile import text_inputs as text
from tests.hostile.reader import Reader, check_expert

# A recipe is an argument in a file: what is wrong in it is said with a `ValueError`.
WITH_ARGUMENTS = (LoraryError, OSError, ValueError)
PRIVATE = tuple(f"lib/{place}" for place in (*library.PRIVATE_PLACES, *library.LOCKS))
SAVED_PRIVATE = tuple(f"model/experts/{place}" for place in library.PRIVATE_PLACES)
SAVED = ("model/experts/*", "model/base/*", "model/material.safetensors")
WEIGHTS, CONFIGS, ARTIFACTS = "*/adapter_model.safetensors", "*/adapter_config.json", "*/artifacts/*"
JOURNAL = ("*/journal.json", "*/tmp*", "*/trash*", "*/library.json")
RUN_PLANTS = ("run/finished", "run/run.lock", "run/state.writing")
ROUTERS = {
    "arrow": model.make_saved("arrow", top_k=2),
    "spectr": model.make_saved("spectr", top_k=2),
    "lag": model.make_saved("lag", top_k=1),
    "uniform": model.make_saved("uniform"),
    "calibrated": model.make_saved("calibrated"),
    "means": model.make_saved("mean_activation", given=("means",)),
    "gates": model.make_saved("phatgoose", given=("gates",)),
    "moe": model.make_saved("moe", given=("moe",)),
}

Adapter = partial(Reader, room="experts", read=library.read_adapter, check=check_expert)
Stored = partial(
    Reader, room="library", make=library.make_library, check=library.check_library, plants=PRIVATE, cost=2
)
Saved = partial(
    Reader,
    room="assembly",
    read=model.read_saved,
    check=model.check_saved,
    answer=model.answer_saved,
    sealed=SAVED,
    plants=SAVED_PRIVATE,
    cost=12,
)
TaskFile = partial(Reader, room="data", check=task.check_task)
# A command explains everything itself and raises nothing.
Command = partial(Reader, room="cli", check=command.check_ran, raises=(), cost=6)

# fmt: off
ENTRIES = [
    Adapter("adapter", make=library.make_adapter, plants=("poetry/adapter_model.bin",)),
    Adapter("plain-adapter", make=library.make_plain_adapter, plants=("poetry/expert.json",)),
    Adapter("pickled-adapter", make=library.make_pickled_adapter, targets=("poetry/adapter_model.bin",)),
    Adapter("other-kinds", make=library.make_other_kinds),
    Adapter("sparse-adapter", make=library.make_sparse_adapter),
    Adapter("ia3-adapter", make=library.make_ia3_adapter),
    Reader("poly-adapter", room="experts", make=library.make_poly_adapter, read=library.read_poly_adapter,
           check=library.check_skills, raises=WITH_ARGUMENTS),
    Stored("skills", make=library.make_skill_library, read=library.read_skill_library,
           check=library.check_skills, sealed=(WEIGHTS, ARTIFACTS)),
    Adapter("add", make=library.make_adapter, read=library.read_stored, check=library.check_library, cost=2),
    Stored("library", read=library.read_library, answer=library.answer_library, sealed=(WEIGHTS,)),
    Stored("verify", read=library.read_verified, check=library.check_verified,
           answer=library.answer_verified, sealed=(WEIGHTS, CONFIGS, ARTIFACTS)),
    Stored("prototypes", read=library.read_prototypes, check=library.check_prototypes,
           answer=library.answer_prototypes, sealed=(ARTIFACTS,)),
    Stored("prune", read=library.read_pruned, answer=library.answer_library, sealed=(ARTIFACTS,)),
    Stored("change", read=library.read_changed, cost=3),
    Stored("journal", make=library.make_journal, read=library.read_journal, check=library.check_journal,
           targets=JOURNAL),
    Stored("task-rows", make=model.make_task_rows, read=model.read_task_rows, check=model.check_task_rows,
           answer=model.answer_task_rows, sealed=(ARTIFACTS,), cost=4),
    Stored("moe-router", make=model.make_moe_library, read=model.read_moe_library, check=model.check_saved,
           answer=model.answer_saved, sealed=(ARTIFACTS,), raises=WITH_ARGUMENTS, cost=8),
    *(Saved(f"saved-{name}", make=make) for name, make in ROUTERS.items()),
    Reader("base", room="models", make=model.make_base, read=model.read_base,
           check=model.check_base_model, cost=5),
    Reader("artifact-cache", room="facts", make=model.make_artifact_cache, read=model.read_artifact_cache,
           check=model.check_saved, answer=model.answer_saved, cost=6),
    Reader("kernel-cache", room="kernels", make=model.make_kernel_cache, read=model.read_kernel_cache,
           check=model.check_mixed, answer=model.answer_mixed, sealed=("*",), plants=("kernels",), cost=4),
    Reader("run", room="training", make=model.make_run, read=model.resume_run,
           check=model.check_outcome_of_run, answer=model.answer_run, sealed=("*",),
           plants=RUN_PLANTS, cost=6),
    *(TaskFile(f"task-{name}", make=task.write_lines(name), read=task.read_task_at("task.jsonl"))
      for name in task.ROWS),
    *(TaskFile(f"task-{name}", make=task.write_lines("pair", *pack),
               read=task.read_task_at(f"task.jsonl.{name}"))
      for name, pack in task.PACKS.items()),
    TaskFile("task-list", make=task.write_list, read=task.read_task_at("task.json")),
    TaskFile("task-row", make=task.write_pretty, read=task.read_task_at("task.json")),
    TaskFile("task-table", make=task.write_table, read=task.read_task_at("task.csv")),
    TaskFile("task-parquet", make=task.write_parquet, read=task.read_task_at("task.parquet")),
    TaskFile("task-document", make=task.write_document, read=task.read_task_at("task.json")),
    Reader("recipe", room="transforms", make=text.make_recipe_file, read=text.read_and_merge,
           check=check_expert, raises=WITH_ARGUMENTS, cost=2),
    Reader("result", room="evaluation", make=text.make_result, read=text.read_result_file,
           check=text.check_result),
    Reader("cell", room="adaptation", make=text.make_cell, read=text.read_cell, check=text.check_cell),
    Reader("adaptation", room="adaptation", make=model.make_adaptation, read=model.read_adaptation,
           check=model.check_adaptation, answer=model.answer_adaptation, sealed=("*",),
           plants=("adapted/starts", "adapted/starts.json", "adapted/run.lock"), cost=10),
    Reader("outcome", room="cli", make=text.make_outcome, read=text.read_outcome, check=text.check_outcome),
    Reader("prompts", room="cli", make=text.make_prompts, read=text.read_both_prompts,
           check=text.check_prompts),
    Command("lorary-library", make=library.make_library, read=command.look_at_library, plants=PRIVATE),
    Command("lorary-add", make=library.make_adapter, read=command.add_to_library),
    Command("lorary-config", make=command.make_listing_options, read=command.list_by_options),
    Command("lorary-train", make=command.make_training_options, read=command.plan_training),
    Command("lorary-settings", make=command.make_training_settings, read=command.plan_by_settings),
    Command("lorary-tasks", make=command.make_task_folder, read=command.train_task_folder),
    Command("lorary-merge", make=command.make_merge_options, read=command.merge_on_command),
    Command("lorary-generate", make=ROUTERS["arrow"], read=model.generate_on_command, cost=14),
]
# fmt: on
READERS = {entry.name: entry for entry in ENTRIES}

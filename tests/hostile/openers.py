"""Which modules of the package read files, and which readers of the contract try them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import lorary

PACKAGE = Path(lorary.__file__).parent
# What takes up a file's content, or the name of one, wherever it is called. `loads` and `parse_…` understand
# content that was read elsewhere: they are where hostile values arrive.
CALLS = {
    "CDLL",
    "cat_file",
    "cat_ranges",
    "fdopen",
    "from_pretrained",
    "fromfile",
    "get_tensor",
    "hash_file",
    "load",
    "load_file",
    "loads",
    "memmap",
    "mmap",
    "open",
    "open_regular",
    "parse_json",
    "parse_json_object",
    "parse_yaml",
    "read_at_most",
    "read_bytes",
    "read_text",
    "read_yaml",
    "read_yaml_documents",
    "safe_load",
    "safe_open",
}

NO_FILE = "opens no file from outside"
ITS_OWN_TESTS = "tried by tests/files, and by every reader"
READ_BY: dict[str, tuple[str, ...] | str] = {
    "adaptation/folder.py": ("adaptation",),
    "adaptation/transfer_matrix/cell_store.py": ("cell",),
    "adaptation/transfer_matrix/transfer.py": ("cell",),
    "assembly/folder_files.py": ("saved-arrow", "saved-means"),
    "assembly/saved_model.py": ("saved-arrow", "saved-means"),
    "cli/commands/adapt/storing.py": "understands what it wrote itself a moment ago",
    "cli/commands/merge/recipe.py": "understands words of the command line",
    "cli/commands/quickstart/outcome.py": ("outcome",),
    "cli/commands/data/split/run.py": "leaves the reading to data/readers/files.py",
    "cli/protocols/read_protocol.py": "tried by tests/cli/protocols; the YAML itself by tests/files",
    "cli/protocols/state.py": "tried by tests/cli/protocols; the JSON itself by tests/files",
    "cli/repeat.py": "understands words of the command line",
    "cli/screen.py": "opens the null device",
    "cli/template_options.py": "understands words of the command line",
    "cli/spelling.py": ("lorary-config", "lorary-train", "lorary-settings"),
    "data/conversation.py": "understands what it wrote itself a moment ago",
    "data/readers/chat.py": ("task-messages", "task-sharegpt", "task-row"),
    "data/readers/files.py": (
        "task-row",
        "task-pair",
        "task-gz",
        "task-xz",
        "task-list",
        "task-document",
        "lorary-tasks",
    ),
    "data/readers/lines.py": ("task-pair", "task-gz", "task-xz", "task-list", "task-document"),
    "data/readers/parquet.py": ("task-parquet",),
    "data/readers/tool_calls.py": ("task-sharegpt", "task-row"),
    "data/readers/unpack.py": ("task-gz", "task-xz"),
    "data/turns.py": "understands what it wrote itself a moment ago",
    "evaluation/bridges/data_folder.py": "hashes bytes; the rows are tried by tests/evaluation/bridges",
    "evaluation/bridges/task_index.py": "reads what comes with the packages",
    "evaluation/response_store.py": "tried by tests/evaluation/test_response_store.py",
    "evaluation/result_file.py": ("result", "outcome"),
    "evaluation/run_header.py": "reads what the system says of the processor",
    "evaluation/sandbox/inside/calls.py": "opens the C library",
    "evaluation/sandbox/inside/landlock.py": "opens folders of Python to allow their reading",
    "evaluation/sandbox/inside/launch.py": "opens the null device",
    "evaluation/sandbox/inside/namespaces.py": "writes to the kernel",
    "evaluation/sandbox/inside/watch.py": "reads what the system says of its own processes",
    "evaluation/sandbox/inside/wire.py": "tried by tests/evaluation/sandbox",
    "evaluation/sandbox/process.py": "understands what its own sandbox wrote a moment ago",
    "experts/base_blocks.py": ITS_OWN_TESTS,
    "experts/base_revisions.py": ITS_OWN_TESTS,
    "experts/card.py": "understands what it wrote itself a moment ago",
    "experts/checked_files.py": ("adapter", "plain-adapter"),
    "experts/file_layout.py": ("adapter", "library"),
    "experts/folder.py": "writes",
    "experts/peft_reader.py": ("adapter", "plain-adapter", "library"),
    "experts/pickled_weights.py": ("pickled-adapter",),
    "experts/skills/poly_reader.py": ("poly-adapter",),
    "experts/weights_file.py": ("adapter", "library"),
    "facts/cache.py": ("artifact-cache",),
    "facts/fitted_library.py": "hands on what a library read",
    "facts/generic_inputs.py": ("artifact-cache",),
    "facts/generic_text.py": ("artifact-cache",),
    "facts/joint.py": "hands on what a library read",
    "facts/known.py": "understands what it wrote itself a moment ago",
    "facts/moe.py": ("moe-router", "saved-moe"),
    "facts/shipped_texts.py": "reads what comes with the package",
    "facts/soundness.py": ("prototypes", "task-rows", "saved-calibrated"),
    "files/appended.py": "writes",
    "files/json_text.py": ITS_OWN_TESTS,
    "files/regular.py": ITS_OWN_TESTS,
    "files/whole.py": ITS_OWN_TESTS,
    "files/yaml_text.py": ITS_OWN_TESTS,
    "kernels/build.py": ("kernel-cache",),
    "kernels/object_cache.py": ("kernel-cache",),
    "kernels/triton_kernels/blocks.py": NO_FILE,
    "kernels/triton_kernels/choose.py": NO_FILE,
    "kernels/triton_kernels/grouped.py": NO_FILE,
    "kernels/triton_kernels/pairs.py": NO_FILE,
    "kernels/triton_kernels/weigh.py": NO_FILE,
    "cli/commands/generate/prompt_file.py": ("prompts",),
    "cli/commands/train/trackers.py": "opens what writes",
    "library/annotate.py": ("change",),
    "library/artifact_file.py": ("prototypes", "verify"),
    "library/derive.py": ("prototypes",),
    "library/entry.py": ("library", "lorary-library"),
    "library/key.py": "understands what it wrote itself a moment ago",
    "library/lock/lock_file.py": "tried by tests/library/lock: it is refused unless its own hash is right",
    "library/marker.py": ("library",),
    "library/retitle.py": ("change",),
    "library/skills.py": ("skills",),
    "library/standing.py": ("library", "change"),
    "library/storage/local/calls.py": ("library", "journal"),
    "library/storage/local/folder.py": ("library", "prune"),
    "library/storage/local/journal.py": ("journal",),
    "library/storage/local/pieces.py": ("library", "prune"),
    "library/storage/owner.py": "reads what the system says of this machine",
    "library/storage/remote/folder.py": "no file system of this machine: its content goes the same ways",
    "library/storage/remote/journal.py": "no file system of this machine: its content goes the same ways",
    "models/base_folder.py": ("base", "saved-arrow"),
    "models/embedded.py": "reads a model file of an installed package, which can run code anyway",
    "models/extraction/weights.py": "leaves the reading to transformers and safetensors, as loading.py does",
    "models/loading.py": ("base", "saved-arrow"),
    "models/quantized/source_fingerprint.py": "reads what transformers has read, after base_folder.py",
    "models/stored_parameters.py": "leaves the reading to safetensors, after base_folder.py",
    "models/tokenizer.py": "leaves the reading to transformers, as base_folder.py does",
    "library/tuned.py": "tried by tests/library/test_tuned.py",
    "routing/card.py": "tried by tests/routing/test_card.py",
    "routing/configs/moe_form.py": ("moe-router", "saved-moe"),
    "routing/moe/packed.py": ("moe-router", "saved-moe"),
    "training/memory.py": "reads what the system says of this machine",
    "training/peft_settings.py": "tried by test_peft_training.py; the YAML itself by tests/files",
    "training/folder/finished.py": ("run",),
    "training/folder/lock.py": ("run",),
    "training/folder/run_files.py": ("run",),
    "training/folder/run_folder.py": ("run",),
    "training/folder/state_file.py": ("run",),
    "transforms/merging/recipe/recipe_file.py": ("recipe", "lorary-merge"),
}
"""Module -> the readers that bring hostile files to it, or why none has to."""


@cache
def find_openers(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Find the modules that call any of these: path within the package -> what they call."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        called = set(list_calls(ast.parse(path.read_text()))) & CALLS
        if called:
            found[str(path.relative_to(package))] = called
    return found


def list_calls(tree: ast.AST) -> Iterator[str]:
    """Give the last name of everything that is called, but for ``Library.open``, whose readers are known."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                if ast.unparse(node.func) not in ("Library.open", "lorary.Library.open"):
                    yield node.func.attr
            elif isinstance(node.func, ast.Name):
                yield node.func.id

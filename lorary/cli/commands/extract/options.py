"""Extract an expert from a fine-tuned model: the best low-rank approximation of what changed.

Weights are read tensor by tensor. Prints the approximation error for each kind of layer; --json has every
layer. Changes of embeddings, norms and biases are lost unless --keep-rest stores them as a whole.
"""

from jsonargparse import ArgumentParser

EXAMPLE = "lorary extract my-base my-finetune --rank 32 --out ./my-loras"


def add_arguments(parser: ArgumentParser) -> None:
    """Add both models, the rank, and the library."""
    parser.add_argument("base", help="Base model: hub id, folder, or smollm2-135m")
    parser.add_argument("tuned", help="Model that was fine-tuned from it: hub id or folder")
    parser.add_argument("--rank", type=int, required=True, help="Maximum rank of each layer's factors")
    parser.add_argument(
        "--out",
        required=True,
        help="Folder or URL of the library for the expert; created if missing",
    )
    parser.add_argument(
        "--name", type=str | None, help="Name of the expert; if not given: the last part of the model's name"
    )
    parser.add_argument(
        "--keep-rest",
        action="store_true",
        help="Store other changed parameters (embeddings, norms, biases) as a whole with the expert",
    )
    parser.add_argument("--revision", type=str | None, help="Commit, branch or tag of the base model")
    parser.add_argument(
        "--tuned-revision", type=str | None, help="Commit, branch or tag of the fine-tuned model"
    )
    parser.add_argument("--per-layer", action="store_true", help="Print a line for each layer")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of tables")

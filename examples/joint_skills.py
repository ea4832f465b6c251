"""Train skills that 43 real tasks share (Polytropon), into the library of examples/natural_instructions.py.

    python examples/joint_skills.py DATA runs/library --max-tokens 86000

The skills are stored as ``skills-0``, ``skills-1``, … in OUT/library, with the role "skill", and their table.
Training goes on where an earlier call stopped. examples/few_shot.py adapts them to new tasks.
"""

import argparse
from pathlib import Path

from natural_instructions import LONGEST, read_tasks, show_bar

import lorary
from lorary.data import find_template
from lorary.library import Library
from lorary.library.skills import store_skills
from lorary.training import SkillConfig, TrainConfig, prepare_examples, train_skills


def main() -> None:
    """Train and store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--max-tokens", type=int, default=240_000, help="of all tasks together")
    parser.add_argument("--num-skills", type=int, default=8)
    args = parser.parse_args()
    base = lorary.load_base()
    tasks = read_tasks(args.data)
    examples = prepare_examples(
        base.tokenizer, tasks, find_template("plain"), max_length=LONGEST, truncation="skip"
    )
    train = TrainConfig(max_tokens=args.max_tokens, batch_size=16, tokens_per_pass=4096, validate_every=100)
    with show_bar(f"training {args.num_skills} skills of {len(tasks)} tasks") as show:
        outcome = train_skills(
            base,
            examples,
            SkillConfig(train=train, num_skills=args.num_skills),
            args.out / "skills-run",
            on_progress=lambda event: show(event.num_steps, event.total_steps),
        )
    store_skills(Library.open(str(args.out / "library")), outcome.skill_set)


if __name__ == "__main__":
    main()

"""The shortest training."""

QUICK = ("--training.max_steps", "2", "--training.rank", "2", "--training.batch_size", "2")

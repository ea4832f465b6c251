"""The training loop: units in slots, steps, validation, checkpoints. An objective states what is trained."""

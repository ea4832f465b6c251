"""The one training loop: units in slots, steps, validation, checkpoints; what is trained is a value."""

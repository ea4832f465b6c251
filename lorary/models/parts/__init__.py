"""Parts of experts on a model: changes other than low-rank factors."""

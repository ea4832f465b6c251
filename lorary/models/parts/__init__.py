"""Parts of experts on a model: what experts change besides low-rank factors."""

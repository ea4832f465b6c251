"""Extracting an expert from a fine-tuned model: the best low-rank approximation of each layer's change."""

from lorary.models.extraction.extract import Extraction, LayerChange, extract_expert

__all__ = ["Extraction", "LayerChange", "extract_expert"]

"""Base models with 4- and 8-bit weights: names of quantisations, their layers, and dequantising them."""

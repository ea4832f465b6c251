"""Colours of experts, which differ also for colour-blind readers."""

# Okabe and Ito's set, extended by Tol's 'muted' set; the first eight differ most.
BASE_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#5b4fc4",
    "#999933", "#882255", "#44aa99", "#cc6677", "#aa4499", "#117733", "#b58863", "#8a8f98",
)  # fmt: skip

"""Colours of experts, which differ also for colour-blind readers and have enough contrast for text."""

from collections.abc import Sequence
from colorsys import hls_to_rgb
from dataclasses import dataclass
from hashlib import sha256

from lorary.files.colours import BASE_COLOURS

LIGHT_PAGE, LIGHT_TEXT = "#ffffff", "#1b2029"
DARK_PAGE, DARK_TEXT = "#161a21", "#e9edf3"
LIGHT_HEAT, DARK_HEAT = "#5b9bd8", "#22609f"
LIGHT_BELOW, DARK_BELOW = "#e58f5b", "#9a4d1c"
NUM_HEAT_STEPS = 11


@dataclass(frozen=True, kw_only=True)
class Shades:
    """The shades of one colour for the light and the dark page."""

    light_fill: str
    """Background of text on the light page."""
    light_line: str
    """Colour of lines, dots and bars on the light page."""
    dark_fill: str
    """Background of text on the dark page."""
    dark_line: str
    """Colour of lines, dots and bars on the dark page."""


def expert_shades(names: Sequence[str]) -> list[Shades]:
    """Return the shades of each expert: by its place in the list, or by its name if there are too many."""
    if len(names) <= len(BASE_COLOURS):
        colours = list(BASE_COLOURS[: len(names)])
    else:
        colours = [_hashed_colour(name) for name in names]
    return [_fit_shades(colour) for colour in colours]


def heat_shades(light: str = LIGHT_HEAT, dark: str = DARK_HEAT) -> list[tuple[str, str]]:
    """Return the backgrounds (light, dark) of a heat map's steps, from the lowest value to the highest."""
    steps = [step / (NUM_HEAT_STEPS - 1) for step in range(NUM_HEAT_STEPS)]
    return [(blend(light, LIGHT_PAGE, step), blend(dark, DARK_PAGE, step)) for step in steps]


def blend(colour: str, other: str, share: float) -> str:
    """Mix two ``#rrggbb`` colours, the first with weight ``share`` and the second with the rest."""
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return _hex([share * left + (1 - share) * right for left, right in pairs])


def contrast(colour: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21.

    Source: WCAG 2.2, definition of relative luminance and contrast ratio.
    """
    bright, dim = sorted((_luminance(colour), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _fit_shades(colour: str) -> Shades:
    return Shades(
        light_fill=blend(colour, LIGHT_PAGE, 0.3),
        light_line=_until_visible(colour, LIGHT_PAGE, "#000000", 1.8),
        dark_fill=blend(colour, DARK_PAGE, 0.4),
        dark_line=_until_visible(colour, DARK_PAGE, "#ffffff", 3.0),
    )


def _until_visible(colour: str, page: str, towards: str, least: float) -> str:
    steps = (blend(towards, colour, step / 20) for step in range(21))
    return next(shade for shade in steps if contrast(shade, page) >= least)


def _hashed_colour(name: str) -> str:
    digest = sha256(name.encode("utf-8", "replace")).digest()
    lightness = (0.38, 0.5, 0.62)[digest[2] % 3]
    red, green, blue = hls_to_rgb(int.from_bytes(digest[:2]) / 65536, lightness, 0.6)
    return _hex([255 * red, 255 * green, 255 * blue])


def _luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


def _hex(channels: Sequence[float]) -> str:
    return "#" + "".join(f"{round(channel):02x}" for channel in channels)

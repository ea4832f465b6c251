"""Hostile values in JSON, YAML and the headers of tensors: wrong types, sizes, names, depths and words."""

from pathlib import Path
from random import Random
from typing import Any

from tests.hostile.contents import read_values
from tests.hostile.surroundings import Surroundings
from tests.hostile.values import NEAR, Raw, draw_deep, draw_value, draw_wide, dump, find, list_places, put


class CannotApply(Exception):
    """This kind has nothing to change in this file."""


def _change(path: Path, rng: Random, change: Any) -> None:
    """Change one of a file's values: ``change(value, place)`` gives the new whole, or text of one."""
    content = read_values(path)
    number = rng.randrange(len(content.lines))
    value = content.lines[number]
    texts = [dump(line) for line in content.lines]
    changed = change(value)
    texts[number] = changed if isinstance(changed, Raw) else dump(changed)
    path.write_bytes(content.write(texts))


def _choose(rng: Random, value: Any, is_fit: Any = lambda part: True) -> tuple[Any, ...]:
    places = [place for place in list_places(value) if is_fit(find(value, place))]
    if not places:
        raise CannotApply
    return rng.choice(places)


def _filled(part: Any) -> bool:
    return isinstance(part, dict | list) and len(part) > 0


def replace_value(path: Path, rng: Random, around: Surroundings) -> None:
    """Put a hostile value in a value's place."""
    new = draw_value(rng, str(around.elsewhere))
    _change(path, rng, lambda value: put(value, _choose(rng, value), new))


def nearly_replace(path: Path, rng: Random, around: Surroundings) -> None:
    """Put a value there that nearly is the old one."""

    def change(value: Any) -> Any:
        place = _choose(rng, value)
        for near in rng.sample(NEAR, len(NEAR)):
            try:
                return put(value, place, near(find(value, place)))
            except (TypeError, ValueError, AttributeError, KeyError):
                continue
        raise CannotApply

    _change(path, rng, change)


def nest(path: Path, rng: Random, around: Surroundings) -> None:
    """Nest deeply."""
    _change(path, rng, lambda value: put(value, _choose(rng, value), draw_deep(rng)))


def widen(path: Path, rng: Random, around: Surroundings) -> None:
    """Hold very many values."""
    _change(path, rng, lambda value: put(value, _choose(rng, value), draw_wide(rng)))


def drop(path: Path, rng: Random, around: Surroundings) -> None:
    """Leave a key or an entry out."""

    def change(value: Any) -> Any:
        place = _choose(rng, value, _filled)
        parts = find(value, place)
        del parts[rng.choice(list(parts) if isinstance(parts, dict) else range(len(parts)))]
        return value

    _change(path, rng, change)


def add(path: Path, rng: Random, around: Surroundings) -> None:
    """Have one key or entry more."""
    new = draw_value(rng, str(around.elsewhere))

    def change(value: Any) -> Any:
        parts = find(value, _choose(rng, value, _filled))
        if isinstance(parts, list):
            parts.insert(rng.randrange(len(parts) + 1), new)
        else:
            parts[_draw_key(rng, around)] = new
        return value

    _change(path, rng, change)


def rename_key(path: Path, rng: Random, around: Surroundings) -> None:
    """Give a key a hostile name."""

    def change(value: Any) -> Any:
        place = _choose(rng, value, lambda part: isinstance(part, dict) and part)
        parts = find(value, place)
        old = rng.choice(list(parts))
        new = rng.choice((_draw_key(rng, around), old.upper(), f"{old} ", f"../{old}", f"{old}.x"))
        return put(value, place, {new if key == old else key: part for key, part in parts.items()})

    _change(path, rng, change)


def _draw_key(rng: Random, around: Surroundings) -> str:
    while not isinstance(key := draw_value(rng, str(around.elsewhere)), str) or isinstance(key, Raw):
        pass
    return key


def duplicate_key(path: Path, rng: Random, around: Surroundings) -> None:
    """Have a key twice, with different values: readers take the one or the other."""

    def change(value: Any) -> Raw:
        place = _choose(rng, value, lambda part: isinstance(part, dict) and part)
        parts = find(value, place)
        key = rng.choice(list(parts))
        new = draw_value(rng, str(around.elsewhere))
        pairs = [*parts.items()]
        pairs.insert(rng.randrange(len(pairs) + 1), (key, new))
        text = "{" + ", ".join(f"{dump(name)}: {dump(part)}" for name, part in pairs) + "}"
        return Raw(dump(put(value, place, Raw(text))))

    _change(path, rng, change)


def swap(path: Path, rng: Random, around: Surroundings) -> None:
    """Exchange two values."""

    def change(value: Any) -> Any:
        places = [place for place in list_places(value) if place]
        if len(places) < 2:
            raise CannotApply
        one, other = rng.sample(places, 2)
        first, second = find(value, one), find(value, other)
        if one == other[: len(one)] or other == one[: len(other)]:
            raise CannotApply
        return put(put(value, one, second), other, first)

    _change(path, rng, change)


def replace_whole(path: Path, rng: Random, around: Surroundings) -> None:
    """Be another value altogether, or two of them."""
    new = rng.choice((draw_value(rng, str(around.elsewhere)), Raw("{}{}"), Raw("[]\n[]"), Raw(""), Raw("{")))
    _change(path, rng, lambda value: Raw(dump(new)))


KINDS = {
    "value": replace_value,
    "near value": nearly_replace,
    "deep": nest,
    "wide": widen,
    "missing key": drop,
    "extra key": add,
    "renamed key": rename_key,
    "key twice": duplicate_key,
    "swapped values": swap,
    "another whole": replace_whole,
}

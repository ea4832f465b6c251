"""Order stages so that each follows those that it needs."""

from collections.abc import Mapping, Sequence


def order_stages(needs: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """Order stages; among those that could be next, the first in the file comes first.

    Args:
        needs: stage -> the stages that it needs, all of them known.

    Returns:
        The stages in order; and one cycle if there is any, whose first stage is
        also its last.
    """
    ordered: list[str] = []
    while len(ordered) < len(needs):
        ready = [name for name in needs if name not in ordered and set(needs[name]) <= set(ordered)]
        if not ready:
            return ordered, _find_circle(needs, [name for name in needs if name not in ordered])
        ordered.append(ready[0])
    return ordered, []


def _find_circle(needs: Mapping[str, Sequence[str]], left: Sequence[str]) -> list[str]:
    path = [left[0]]
    while True:
        following = next(name for name in needs[path[-1]] if name in left)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)

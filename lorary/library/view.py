"""Some experts of a library, such as those that routers choose among."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lorary.errors import UnknownExpert
from lorary.experts import Expert
from lorary.experts.roles import check_roles, describe_roles
from lorary.files import quote, say_count
from lorary.library.artifacts import Artifacts
from lorary.library.entry import Entry
from lorary.library.notebook import draw_entries

if TYPE_CHECKING:
    from lorary.library.library import Library


class LibraryView(Mapping[str, Expert]):
    """Some experts of a library, with the library's artifacts. ``Library.routed`` makes one.

    The names are those at the time when the view was made; experts are read from the library when accessed.

    Args:
        library: the library.
        names: names of some of its experts, sorted.
        left_out: role -> names of the experts that are not among them because of their role.
    """

    def __init__(self, library: "Library", names: Sequence[str], left_out: Mapping[str, Sequence[str]]):
        self.library = library
        """The library, with all of its experts."""
        self.left_out = {role: tuple(some) for role, some in left_out.items() if some}
        """Role -> names of the experts that are left out because of it."""
        self._names = dict.fromkeys(names)

    def __repr__(self) -> str:
        return f"<{say_count(len(self), 'expert')} of library {quote(self.url)}>"

    def _repr_html_(self) -> str:
        left_out = self.describe_left_out()
        title = f"{say_count(len(self), 'expert')} of library {self.url}"
        return draw_entries(title, self.entries(), f"left out: {left_out}" if left_out else "")

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __getitem__(self, name: str) -> Expert:
        """Read an expert.

        Raises:
            UnknownExpert: if it is not among the view's experts.
        """
        if name not in self._names:
            where = f"this choice of library {quote(self.url)}"
            raise UnknownExpert(name, self._names, where, self.list_reasons().get(name))
        return self.library[name]

    def __contains__(self, name: object) -> bool:
        # The inherited method would read the expert.
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def url(self) -> str:
        """The URL or path that the library was opened by."""
        return self.library.url

    @property
    def artifacts(self) -> Artifacts:
        """The library's artifacts, see ``Library.artifacts``."""
        return self.library.artifacts

    def entries(self, base: str | None = None) -> list[Entry]:
        """List the view's experts, sorted by name; see ``Library.entries``."""
        return [entry for entry in self.library.entries(base=base) if entry.name in self._names]

    def list_reasons(self) -> dict[str, str]:
        """List why experts are left out, and how to include them: name -> the end of an error message."""
        return {
            name: f"it is left out because its role is {role!r}: library.routed({role!r}) includes it"
            for role, names in self.left_out.items()
            for name in names
        }

    def describe_left_out(self) -> str:
        """Describe what is left out, such as ``2 merges (a, b), 1 control (c)``; empty if nothing is."""
        return describe_roles(self.left_out)


def choose_routed(library: "Library", include: str | Iterable[str]) -> LibraryView:
    """Return the experts with the role ``"expert"`` or one of those to include; see ``Library.routed``."""
    roles = check_roles(include)
    names, left_out = [], defaultdict(list)
    for entry in library.entries():
        if entry.card.role in roles:
            names.append(entry.name)
        else:
            left_out[entry.card.role].append(entry.name)
    return LibraryView(library, names, left_out)

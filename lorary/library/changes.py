"""Changes of a library: each is made completely or not at all."""

from collections.abc import Iterable, Mapping
from typing import Any

from lorary.errors import LibraryError
from lorary.experts import Expert, check_name
from lorary.experts.roles import check_roles
from lorary.files import escape, quote
from lorary.library import catalog
from lorary.library.annotate import annotate_as
from lorary.library.commits import Plan, commit_plan
from lorary.library.prune import Pruned, prune_artifacts
from lorary.library.retitle import copy_as
from lorary.library.standing import refuse_other_role, refuse_standing
from lorary.library.storage.contract import Puts, Storage
from lorary.library.storing import require_writable, store_experts
from lorary.library.tuned import store_tuned


class ChangedLibrary:
    """Changes of a library other than those of a mapping: a base of ``Library``, which sets the storage."""

    _storage: Storage

    def add(self, expert: Expert, name: str | None = None) -> None:
        """Store an expert under a new name.

        Args:
            expert: the expert.
            name: the name to store it under; ``None`` for its own.

        Raises:
            LibraryError: if the name is taken, or the expert cannot be written; the message states whether
                the library is unchanged, as in nearly all cases.
        """
        store_experts(
            self._storage, {check_name(expert.name if name is None else name): expert}, replace=False
        )

    def add_all(self, experts: Mapping[str, Expert], *, replace: bool = False) -> None:
        """Store several experts in one commit: all of them, or none.

        Args:
            experts: name -> expert.
            replace: whether to replace experts of these names.

        Raises:
            LibraryError: if a name is taken, or the experts cannot be written; see ``add``.
        """
        store_experts(self._storage, {check_name(name): expert for name, expert in experts.items()}, replace)

    def remove_all(self, names: Iterable[str]) -> None:
        """Delete several experts in one commit: all of them, or none.

        Raises:
            UnknownExpert: if there is no expert of a name.
            LibraryError: if others, which are not among them, build on one of them.
        """
        chosen = list(dict.fromkeys(names))

        def plan() -> tuple[Puts, list[str]]:
            for name in chosen:
                catalog.require_expert(self._storage, name)
            refuse_standing(self._storage, chosen)
            return {}, chosen

        shown = escape(", ".join(map(repr, chosen)), longest=200)
        self._commit(f"delete {'expert' if len(chosen) == 1 else 'experts'} {shown}", plan)

    def rename(self, old: str, new: str) -> None:
        """Rename an expert to a new name; on a local disk its weights are not copied."""
        check_name(new)

        def plan() -> tuple[Puts, list[str]]:
            catalog.require_expert(self._storage, old)
            catalog.require_free_name(self._storage, new, instead_of=old)
            return copy_as(self._storage, old, new), [old]

        self._commit(f"rename expert {quote(old)} to {new!r}", plan)

    def copy(self, old: str, new: str) -> None:
        """Store a copy of an expert under a new name."""
        check_name(new)

        def plan() -> tuple[Puts, list[str]]:
            catalog.require_expert(self._storage, old)
            catalog.require_free_name(self._storage, new)
            return copy_as(self._storage, old, new), []

        self._commit(f"copy expert {quote(old)} to {new!r}", plan, self._count_bytes(old))

    def annotate(
        self,
        name: str,
        *,
        tags: Iterable[str] | None = None,
        description: str | None = None,
        role: str | None = None,
    ) -> None:
        """Change the descriptive fields of an expert's card, and whether it is used by default.

        Its weights and its artifacts stay unchanged.

        Args:
            name: the expert.
            tags: its new keywords; None keeps them.
            description: its new description; None keeps it.
            role: a key of ``lorary.experts.roles.ROLES``; None keeps it.

        Raises:
            UnknownExpert: if there is no expert of this name.
            ValueError: if there is no such role.
            LibraryError: if it has no card, others build on it and it would no longer be general, or the
                library cannot be changed.
        """
        if role is not None:
            check_roles(role)
        new = {"tags": None if tags is None else list(tags), "description": description, "role": role}
        changes = {field: value for field, value in new.items() if value is not None}

        def plan() -> tuple[Puts, list[str]]:
            catalog.require_expert(self._storage, name)
            if role is not None:
                refuse_other_role(self._storage, name, role)
            return annotate_as(self._storage, name, changes), []

        self._commit(f"annotate expert {quote(name)}", plan)

    def require_writable(self, num_bytes: int = 0) -> None:
        """Check that experts can be stored, before long work, by writing ``library.json`` again unchanged.

        Args:
            num_bytes: approximate number of bytes to be stored.

        Raises:
            LibraryError: if nothing can be written, or there is too little space; the message has the reason.
        """
        require_writable(self._storage, num_bytes)

    def tune(self, router: str, options: Mapping[str, Any] | None) -> None:
        """Store options that were tuned for a router, in place of earlier ones; None removes them.

        Raises:
            LibraryError: if the library cannot be written.
        """
        store_tuned(self._storage, router, options)

    def prune(self) -> Pruned:
        """Remove every artifact of which an expert no longer exists; artifacts can be computed again.

        Raises:
            LibraryError: if the library cannot be changed.
        """
        return prune_artifacts(self._storage)

    def _count_bytes(self, name: str) -> int:
        try:
            with self._storage.reading():
                catalog.require_expert(self._storage, name)
                return sum(self._storage.count_bytes(file) for file in self._storage.walk(name))
        except OSError as error:
            raise LibraryError(f"cannot read library {quote(self._storage.url)}: {error}") from error

    def _commit(self, what: str, plan: Plan, num_bytes: int = 0) -> None:
        commit_plan(self._storage, what, plan, num_bytes=num_bytes)

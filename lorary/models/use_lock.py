"""A lock for a model: many threads may use it at once; a thread that changes it waits until none uses it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Interval of checking. A thread that ends within a context sends no notification, so waiting threads poll.
_LOOK_AGAIN_S = 0.1


class _Thread:
    """One thread's entries into a lock."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.num_uses = 0
        self.num_changes = 0


class UseLock:
    """Held by any number of threads that use a model, or by the one that changes it.

    A thread may enter its contexts again, and a thread that changes the model may use it. New users wait for
    threads that wait to change the model. A thread that ended within a context no longer counts.
    """

    def __init__(self) -> None:
        self._freed = threading.Condition()
        self._users: set[_Thread] = set()
        self._changer: _Thread | None = None
        self._num_waiting = 0
        self._own = threading.local()

    @contextmanager
    def using(self) -> Iterator[None]:
        """Within this context no other thread changes the model."""
        me = self._find_me()
        with self._freed:
            if not me.num_uses and self._changer is not me:
                self._wait(lambda: not self._is_changed() and not self._num_waiting)
            me.num_uses += 1
            self._users.add(me)
        try:
            yield
        finally:
            with self._freed:
                me.num_uses -= 1
                if not me.num_uses:
                    self._users.discard(me)
                    self._freed.notify_all()

    @contextmanager
    def changing(self, what: str) -> Iterator[None]:
        """Within this context no other thread uses the model.

        Args:
            what: the intended change, for the message.

        Raises:
            ValueError: if this thread uses the model itself, since it would wait for itself.
        """
        me = self._find_me()
        with self._freed:
            if self._changer is not me:
                if me.num_uses:
                    raise ValueError(f"leave the contexts of routed and assign first, before you {what}")
                self._wait_alone()
                self._changer = me
            me.num_changes += 1
        try:
            yield
        finally:
            with self._freed:
                me.num_changes -= 1
                if not me.num_changes and self._changer is me:
                    self._changer = None
                    self._freed.notify_all()

    def _find_me(self) -> _Thread:
        if not hasattr(self._own, "me"):
            self._own.me = _Thread()
        found: _Thread = self._own.me
        return found

    def _wait_alone(self) -> None:
        self._num_waiting += 1
        try:
            self._wait(lambda: not self._is_changed() and not self._is_used())
        finally:
            self._num_waiting -= 1
            self._freed.notify_all()

    def _wait(self, is_free: Callable[[], bool]) -> None:
        while not is_free():
            self._freed.wait(_LOOK_AGAIN_S)

    def _is_changed(self) -> bool:
        return self._changer is not None and self._changer.thread.is_alive()

    def _is_used(self) -> bool:
        self._users = {user for user in self._users if user.thread.is_alive()}
        return bool(self._users)

import threading
import time

import pytest

from lorary.models.use_lock import UseLock


def in_thread(do):
    """Start a thread; returns it, and the list that its answer or error goes to."""
    found = []

    def run():
        try:
            found.append(do())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, found


def hold(context, entered, left):
    def do():
        with context:
            entered.set()
            assert left.wait(10)

    return in_thread(do)


def test_many_may_use_at_once():
    lock, entered = UseLock(), threading.Barrier(3)

    def do():
        with lock.using():
            entered.wait(10)
        return "met"

    threads = [in_thread(do) for _ in range(3)]
    for thread, found in threads:
        thread.join(10)
        assert found == ["met"]


@pytest.mark.parametrize("kind", ["using", "changing"])
def test_whoever_changes_waits_for_all_others(kind):
    lock, entered, left, order = UseLock(), threading.Event(), threading.Event(), []
    other, _ = hold(lock.using() if kind == "using" else lock.changing("look"), entered, left)
    assert entered.wait(10)

    def change():
        with lock.changing("set a router"):
            order.append("changed")

    changer, _ = in_thread(change)
    time.sleep(0.05)
    assert order == []
    left.set()
    for thread in (changer, other):
        thread.join(10)
    assert order == ["changed"]


def test_new_users_wait_while_something_is_changed():
    lock, entered, left, order = UseLock(), threading.Event(), threading.Event(), []
    changer, _ = hold(lock.changing("look"), entered, left)
    assert entered.wait(10)

    def use():
        with lock.using():
            order.append("used")

    user, _ = in_thread(use)
    time.sleep(0.05)
    assert order == []
    left.set()
    for thread in (changer, user):
        thread.join(10)
    assert order == ["used"]


def test_users_who_keep_coming_do_not_shut_out_a_change():
    lock, stop = UseLock(), threading.Event()

    def keep_using():
        while not stop.is_set():
            with lock.using():
                time.sleep(0.002)

    users = [in_thread(keep_using) for _ in range(3)]
    changer, found = in_thread(lambda: change_once(lock))
    changer.join(10)
    stop.set()
    for thread, _ in users:
        thread.join(10)
    assert found == ["changed"]


def change_once(lock):
    with lock.changing("set a router"):
        return "changed"


def test_both_are_entered_again_freely():
    lock = UseLock()
    with lock.using(), lock.using():
        pass
    with lock.changing("one"), lock.changing("other"), lock.using(), lock.changing("again"):
        pass
    assert change_once(lock) == "changed"


def test_a_user_uses_on_while_another_waits_to_change():
    lock, entered = UseLock(), threading.Event()
    with lock.using():
        changer, found = in_thread(lambda: (entered.set(), change_once(lock)))
        assert entered.wait(10)
        time.sleep(0.05)
        with lock.using():
            assert not found
    changer.join(10)
    assert not changer.is_alive()


def test_a_user_who_wants_to_change_is_refused_at_once():
    lock = UseLock()
    with (
        lock.using(),
        pytest.raises(ValueError, match="leave the contexts of routed and assign first, before you sing"),
        lock.changing("sing"),
    ):
        pass
    assert change_once(lock) == "changed"


@pytest.mark.parametrize("kind", ["using", "changing"])
def test_a_thread_that_ends_within_a_context_holds_nothing(kind):
    lock = UseLock()
    context = lock.using() if kind == "using" else lock.changing("end")
    thread, _ = in_thread(context.__enter__)
    thread.join(10)
    assert change_once(lock) == "changed"
    with lock.changing("tidy up"):
        context.__exit__(None, None, None)  # what another left open is tidied up here
        with lock.using():
            pass
    assert change_once(lock) == "changed"


@pytest.mark.parametrize("kind", ["using", "changing"])
def test_an_exception_within_a_context_holds_nothing(kind):
    lock = UseLock()
    with pytest.raises(ZeroDivisionError), lock.using() if kind == "using" else lock.changing("divide"):
        1 / 0  # noqa: B018
    thread, found = in_thread(lambda: change_once(lock))
    thread.join(10)
    assert found == ["changed"]


def test_what_was_asked_for_in_vain_holds_nobody_up():
    lock = UseLock()
    with lock.using():
        with pytest.raises(ValueError, match="leave the contexts"), lock.changing("wait"):
            pass
        thread, found = in_thread(lambda: use_once(lock))
        thread.join(10)
    assert found == ["used"]


def use_once(lock):
    with lock.using():
        return "used"

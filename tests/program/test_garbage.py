"""The search for garbage waits while programs are compiled."""

from __future__ import annotations

import gc
from threading import Thread

import pytest

from lrpc.support.garbage import garbage_waits


def test_the_search_goes_on_when_the_last_is_out() -> None:
    assert gc.isenabled()
    with garbage_waits():
        other = garbage_waits()
        thread = Thread(target=other.__enter__)
        thread.start()
        thread.join()
        assert not gc.isenabled()
    assert not gc.isenabled()
    other.__exit__(None, None, None)
    assert gc.isenabled()


def test_errors_end_it_and_a_search_that_was_off_stays_off() -> None:
    with pytest.raises(KeyError), garbage_waits():
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with garbage_waits():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()

"""How a test expects a user's mistake to be told, and a disk that is full."""

import contextlib
import resource

import pytest

from common.cli import UserError


@contextlib.contextmanager
def mistake(*parts):
    """What is done within must raise a `UserError`: one sentence on one line that has these parts."""
    with pytest.raises(UserError) as error:
        yield
    assert_sentence(str(error.value), *parts)


def assert_sentence(sentence, *parts):
    assert all(str(part) in sentence for part in parts), sentence
    assert sentence[-1] in ".?" and "\n" not in sentence and "Error" not in sentence, sentence


@contextlib.contextmanager
def files_no_larger_than(size):
    """Within, no file of this process can grow beyond `size` bytes."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)

"""A model to publish versions of, and models that are loaded once."""

import pytest
import tensorflow as tf

from tests.export.exported import Exported, load
from tests.models import make


@pytest.fixture
def loaded_once(monkeypatch):
    """Commands ask what this process has loaded before."""
    monkeypatch.setattr(tf.saved_model, "load", load)


@pytest.fixture(scope="session")
def vae(tmp_path_factory):
    """A model behind servers, and that other tests may publish further versions of."""
    return Exported(make("vae"), tmp_path_factory.mktemp("vae"))

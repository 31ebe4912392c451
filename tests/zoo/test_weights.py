"""What networks are called."""

import pytest

from tests.models import make
from zoo import MODELS

NAMES = {
    "vae": ["encoder", "decoder"],
    "dcgan": ["generator", "discriminator"],
    "hierarchical_vae": ["encoder", "upward_0", "downward_0", "decoder"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_summary_names_networks_by_what_they_are(name):
    lines = []
    make(name).summary(print_fn=lambda line, **_: lines.append(line))
    assert all(any(f" {network} (" in line for line in lines) for network in NAMES[name]), lines


@pytest.mark.slow
def test_every_network_is_named_as_what_holds_it():
    for name in MODELS:
        found = [layer.name for layer in make(name).layers]
        assert not any(network.startswith(("sequential", "functional")) for network in found), (name, found)

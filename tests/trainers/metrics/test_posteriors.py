"""Posteriors on a grid against linear-Gaussian models, of which p(x) and the bound are known."""

import numpy as np
import pytest

from tests.trainers.metrics.made import data_of, options, run_of
from tests.zoo.variational.test_hamiltonian_vae import Oscillator
from tests.zoo.variational.test_vae import LinearGaussian
from trainers.metrics.posteriors import posterior_map


@pytest.mark.slow
@pytest.mark.parametrize("made", ["vae", "hamiltonian_vae"])
def test_map_of_a_linear_gaussian_model(made, tmp_path):
    """The second has trajectories, too."""
    if made == "vae":
        truth, shift = LinearGaussian(3), 0.5
        model, gap = truth.vae((3,), shift), 0.5 * np.sum(shift**2 / truth.variance)
    else:
        truth = Oscillator(3, [0.2, 0.4])
        model, gap = truth.model, truth.gap
    found = posterior_map(run_of(model, tmp_path), data_of(truth.x, truth.x), options())
    np.testing.assert_allclose(found["nll"], -truth.log_px.mean(), rtol=1e-4)
    assert abs(found["gap"] - gap) < 5 * found["gap_standard_error"] and found["gap_standard_error"] < 0.1 * gap
    assert (tmp_path / "posteriors.png").stat().st_size > 10_000

"""Posteriors on a grid against linear-Gaussian models, of which p(x) and the bound are known."""

import numpy as np
import pytest
from scipy import stats

from tests.trainers.metrics.made import data_of, options, run_of
from tests.zoo.variational.test_hamiltonian_vae import Oscillator
from tests.zoo.variational.test_vae import LinearGaussian
from trainers.data import held_out_batches
from trainers.metrics.annealed import ais_nll
from trainers.metrics.posteriors import posterior_map
from trainers.metrics.theory import posterior_against_theory
from zoo.variational.ml_vae import MLVAE
from zoo.variational.vae import VAE


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


DEAF = {"hidden_units": (), "likelihood": "gaussian", "likelihood_variance": 1.0}
POINTS, PIXELS = np.eye(4, 3, dtype=np.float32), np.arange(16, dtype=np.uint8).reshape(4, 2, 2, 1)


def deaf(model):
    """A model whose q(z|x) and p(z|x) are N(0, I), and p(x|z) = N(0, I), whatever z and x."""
    for network in (model.encoder, model.decoder):
        network.set_weights([np.zeros_like(weight) for weight in network.get_weights()])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("metric", [posterior_map, ais_nll])
@pytest.mark.parametrize("make, rows, name", [
    (lambda: MLVAE(data_shape=(3,), style_size=1, content_size=1, **DEAF), POINTS, "nll"),  # learns from labels, too
    (lambda: VAE(data_shape=(2, 2, 1), latent_size=2, **DEAF), PIXELS, "dequantized_nll"),
])  # fmt: skip
def test_rows_are_scored_without_labels_and_pixels_dequantised(metric, make, rows, name, tmp_path):
    data = data_of(rows, rows, labels=(np.arange(4), np.arange(4)))
    ais = {"num_ais_examples": 4, "num_ais_chains": 2, "num_ais_temperatures": 2, "num_ais_leapfrog_steps": 1}
    found = metric(run_of(deaf(make()), tmp_path), data, options(**ais))
    (x,) = held_out_batches(data, 4, dequantize=True)
    assert found[name] == pytest.approx(-stats.norm.logpdf(x).sum() / 4, rel=1e-5)


@pytest.mark.slow
def test_draws_beside_a_known_posterior_are_no_means(tmp_path):
    run = run_of(deaf(VAE(data_shape=(1,), latent_size=2, **DEAF)), tmp_path)
    points = np.zeros([4, 1], np.float32)
    found = posterior_against_theory(run, data_of(points, points), options(num_model_samples=20_000))
    assert 0.0 < found["largest_kl"] < 0.1  # 3600 cells / (2 draws)

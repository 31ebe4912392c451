"""Likelihoods and objectives by quadrature, and as means over every row."""

import numpy as np
import pytest

from tests.trainers.metrics.made import NUM_ROWS, options, run_of
from trainers.metrics import likelihood
from trainers.metrics.likelihood import ais_nll, held_out_objectives, importance_weighted_nll
from zoo.adversarial.gan import GAN
from zoo.parts import estimators, noise


@pytest.mark.parametrize("batch_size, chunk", [(NUM_ROWS, 2000), (10, 2000), (10, 300), (4, 1999)])
def test_importance_weighted_nll_by_quadrature(vae, images, truth, batch_size, chunk, monkeypatch):
    """In any batches and chunks, the last ones smaller, it is the same but for its Monte Carlo error."""
    num, iwae, draws = 2000, estimators.iwae, set()
    monkeypatch.setattr(likelihood, "MAX_ELEMENTS", chunk * batch_size * likelihood.LAYER_SIZE)
    monkeypatch.setattr(estimators, "iwae", lambda log_w: draws.add(len(log_w)) or iwae(log_w))
    given = options(batch_size=batch_size, num_importance_samples=num)
    result = importance_weighted_nll(run_of(vae), images, given)
    assert draws == {num}
    log_px, elbo = truth
    x = images.test / np.float32(255)
    log_w = vae.log_weight(x, vae.q(x), noise.normal([1, 1], [num, NUM_ROWS, 1])).numpy()
    error = np.sqrt(np.mean(np.exp(log_w - log_px).var(0)) / num / NUM_ROWS)
    assert 1e-4 < error < 0.02 and np.mean(log_px - elbo) > 0.02
    assert abs(result["nll"] + log_px.mean()) < 5 * error
    assert abs(result["negative_elbo"] + elbo.mean()) < 5 * np.sqrt(np.mean(log_w.var(0)) / num / NUM_ROWS)
    np.testing.assert_allclose(result["standard_error"], log_px.std() / np.sqrt(NUM_ROWS), rtol=0.1)
    assert result["num_importance_samples"] == num and result["num_examples"] == NUM_ROWS


@pytest.mark.slow
@pytest.mark.parametrize("batch_size, num_examples", [(NUM_ROWS, 100), (5, 7)])
def test_ais_nll_by_quadrature(vae, images, truth, batch_size, num_examples):
    """Of all rows, or of some drawn without replacement, in batches whose last one is smaller."""
    more = {"num_ais_examples": num_examples, "num_ais_chains": 40, "num_ais_temperatures": 30}
    given = options(batch_size=batch_size, num_ais_leapfrog_steps=3, **more)
    result = ais_nll(run_of(vae), images, given)
    num = result["num_examples"]
    assert num == min(num_examples, NUM_ROWS)
    rows = np.random.default_rng(0).choice(NUM_ROWS, num, replace=False)
    assert len(set(rows)) == num
    log_px, _ = truth
    np.testing.assert_allclose(result["nll"], -log_px[rows].mean(), atol=0.05)
    np.testing.assert_allclose(result["standard_error"], log_px[rows].std() / np.sqrt(num), rtol=0.2)
    assert 0.5 < result["acceptance_rate"] <= 1.0


def test_held_out_objectives_are_means_over_all_rows(vae, images):
    """23 rows in batches of 10: the last three count as much as the others."""
    result = held_out_objectives(run_of(vae), images, options())
    x, rows = images.test.astype(np.float32) / 255.0, []
    for i, first in enumerate(range(0, NUM_ROWS, 10)):
        with vae.drawing(noise.TEST, i):
            rows.append(vae.negative_bound(x[first : first + 10], training=False))
    for name, key in {"autoencoder_loss": "autoencoder", "reconstruction": "reconstruction", "kl": "kl"}.items():
        expected = np.concatenate([row[key] for row in rows])
        assert len(expected) == NUM_ROWS
        np.testing.assert_allclose(result[name], expected.mean(), rtol=1e-5)
    assert set(result) == {"autoencoder_loss", "reconstruction", "kl"}


def test_held_out_objectives_scale_images_to_the_models_range(images):
    model = GAN(data_shape=(2, 2, 1), latent_size=2, generator_units=(3,), discriminator_units=())
    model.compile()
    model.discriminator.set_weights([np.ones([4, 1]), np.array([0.5])])  # logit: the sum of the pixels, plus 1/2
    result = held_out_objectives(run_of(model), images, options())
    sums = (images.test.astype(np.float64) / 127.5 - 1).sum((1, 2, 3)) + 0.5
    np.testing.assert_allclose(result["accuracy_on_real"], np.mean(sums > 0), rtol=1e-6)

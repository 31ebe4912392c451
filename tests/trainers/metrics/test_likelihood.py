"""Likelihoods and objectives by quadrature, and as means over every row."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.trainers.metrics.made import NUM_ROWS, data_of, model_of, options, run_of
from trainers.data import held_out_batches
from trainers.metrics import DoesNotApply, likelihood
from trainers.metrics.annealed import ais_log_likelihood, ais_nll
from trainers.metrics.likelihood import (
    exact_nll,
    held_out_objectives,
    importance_weighted_nll,
    jackknife_nll,
    require_density,
)
from zoo.adversarial.gan import GAN
from zoo.implicit.gmmn import GMMN
from zoo.parts import estimators, noise
from zoo.studies.pushforward import Pushforward
from zoo.variational.avb import AVB
from zoo.variational.vae import VAE


@pytest.mark.slow
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
    np.testing.assert_allclose(result["nll_standard_error"], log_px.std() / np.sqrt(NUM_ROWS), rtol=0.1)
    assert result["num_importance_samples"] == num and result["num_examples"] == NUM_ROWS


@pytest.mark.slow
def test_jackknife_nll_is_that_of_its_draws(vae, images):
    """Of the log-weights of two batches; gains are differences of what stands beside them."""
    result = jackknife_nll(run_of(vae), images, options(batch_size=20, num_jackknife_samples=5))
    log_w = []
    for chunk, rows in enumerate((slice(0, 20), slice(20, NUM_ROWS))):
        with vae.drawing(noise.EVALUATION, chunk, 0):
            log_w.append(vae.log_weights(images.test[rows] / np.float32(255), 5))
    nll = [-estimators.jvi(tf.concat(log_w, axis=1), order).numpy() for order in range(3)]
    for order, of_order in enumerate(nll):
        assert result[f"nll_of_order_{order}"] == pytest.approx(of_order.mean(), rel=1e-6)
    for order in (1, 2):
        gain = nll[order - 1] - nll[order]
        assert result[f"gain_of_order_{order}"] == pytest.approx(gain.mean(), abs=1e-6)
        error = gain.std(ddof=1) / np.sqrt(NUM_ROWS)
        assert result[f"gain_of_order_{order}_standard_error"] == pytest.approx(error, rel=1e-4)
    assert result["num_jackknife_samples"] == 5 and result["num_examples"] == NUM_ROWS


def test_a_gain_is_a_mean_of_differences_over_the_same_rows(monkeypatch):
    """Of two Gaussians: log p(x) - log p'(x) = x - 1/2, whose mean and deviation are those of x; else a refusal."""
    x = np.random.default_rng(0).normal(1.0, 1.0, [200, 1]).astype(np.float32)
    scored = []

    def normal(mean, support="reals", **more):
        def log_prob(x):
            scored.append(mean)
            return stats.norm.logpdf(x, mean).sum(axis=1)

        run = run_of(model_of(support=support, of_data=lambda x: (x,)))
        run.model.exact_log_prob = lambda x: tf.numpy_function(log_prob, [x], tf.float64)
        run.facts = {"data_checksum": data_of(x, x).checksum, "data_shape": [1]}
        run.settings = SimpleNamespace(**{"dynamic_binarization": False, "splits": None} | more)
        return run

    others = {"zero": normal(0.0), "binarised": normal(0.0, dynamic_binarization=True), "other": normal(0.0)}
    others |= {"binary": normal(0.0, "binary"), "split": normal(0.0, splits=["a", "b"]), "gan": run_of(model_of())}
    others["other"].facts["data_checksum"] = "another"
    others["gan"].facts, others["gan"].settings = others["zero"].facts, others["zero"].settings
    others["gan"].model.support = "reals"
    monkeypatch.setattr(likelihood.rundir, "load", others.get)
    alone = exact_nll(normal(1.0), data_of(x, x), options())
    found = exact_nll(normal(1.0), data_of(x, x), options(against="zero"))
    assert found["against"] == "zero, step 300" and alone == {key: found[key] for key in alone}
    assert found["gain"] == pytest.approx(x.mean() - 0.5, abs=1e-6)
    assert found["gain_standard_error"] == pytest.approx(x.std(ddof=1) / np.sqrt(200), rel=1e-5)
    scored.clear()
    for name, reason in {
        "other": "data are others", "split": "data are others", "binarised": "in one of the runs only",
        "binary": "of another kind, cross_entropy", "gan": "no closed form",
    }.items():  # fmt: skip
        with pytest.raises(DoesNotApply, match=f"of --against={name}, .*{reason}"):
            exact_nll(normal(1.0), data_of(x, x), options(against=name))
    assert not scored


GREY = np.random.default_rng(0).binomial(255, 0.4, [400, 2, 2, 1]).astype(np.uint8)


@pytest.mark.slow
def test_the_density_of_8_bit_pixels_is_that_of_dequantised_ones():
    """N(0.4, 0.03^2) whatever z is: bits are those of the probabilities of 256 values."""
    model = VAE(data_shape=(2, 2, 1), latent_size=1, hidden_units=(), likelihood="gaussian")
    raw = 8.0 * np.arctanh(2.0 * np.log(0.03) / 8.0)
    model.encoder.set_weights([np.zeros([4, 2]), np.zeros(2)])
    model.decoder.set_weights([np.zeros([1, 8]), np.tile([0.4, raw], 4)])
    edges = stats.norm.cdf(np.linspace(0, 1, 257), 0.4, 0.03)
    exact = -np.log2(np.diff(edges)[GREY]).mean()
    (x,) = held_out_batches(data_of(GREY, GREY), 400, dequantize=True)
    nll = -stats.norm.logpdf(x.numpy().reshape(400, 4).astype(np.float64), 0.4, 0.03).sum(1).mean()
    for metric in (importance_weighted_nll, ais_nll):
        ais = {"num_ais_examples": 400, "num_ais_chains": 2, "num_ais_temperatures": 2, "num_ais_leapfrog_steps": 1}
        result = metric(run_of(model), data_of(GREY, GREY), options(batch_size=70, num_importance_samples=3, **ais))
        found, bits = result["dequantized_nll"], result["bits_per_dimension"]
        np.testing.assert_allclose(found, nll, rtol=1e-5)  # of the same rows
        np.testing.assert_allclose(bits, found / np.log(2.0) / 4 + 8.0, rtol=1e-4)
        assert abs(bits - exact) < 0.006  # the error of 1,600 pixels is 0.0014


BLACK_AND_WHITE = GREY // 255 * 255
SEVENTEEN = np.rint(GREY // 15 * (255 / 16)).clip(0, 255).astype(np.uint8)
BETA = np.random.default_rng(0).beta(2, 5, [9, 2]).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("rows, likelihood, name, bits", [
    (GREY, "bernoulli", "cross_entropy", None),
    (BLACK_AND_WHITE, "bernoulli", "nll", None),
    (BETA, "bernoulli", "cross_entropy", None),
    (BETA.round(), "bernoulli", "nll", None),
    (BETA, "gaussian", "nll", None),
    (GREY, "gaussian", "dequantized_nll", 8.0),
    (GREY, "poisson", "rounded_nll", None),
    (SEVENTEEN, "poisson", "nll", 0.0),
    (BLACK_AND_WHITE, "categorical", "nll", 0.0),
])  # fmt: skip
def test_a_likelihood_is_called_what_it_is(rows, likelihood, name, bits):
    """Grey pixels have no Bernoulli probability, and 17 levels none of 256; bits are of probabilities of levels."""
    shape = rows.shape[1:]
    model = VAE(data_shape=shape, latent_size=1, hidden_units=(), likelihood=likelihood, num_levels=17)
    found = importance_weighted_nll(run_of(model), data_of(rows, rows), options(num_importance_samples=3))
    assert [key for key in found if key.endswith(("nll", "cross_entropy"))] == [name]
    elbo = "cross_entropy_negative_elbo" if name == "cross_entropy" else name.replace("nll", "negative_elbo")
    assert found[elbo] >= found[name]
    assert ("bits_per_dimension" in found) == (bits is not None)
    if bits is not None:
        assert found["bits_per_dimension"] == pytest.approx(found[name] / np.log(2.0) / 4 + bits)


@pytest.mark.parametrize("metric, parts", [
    (ais_nll, {"p": None, "latent_prior": "normal"}), (ais_log_likelihood, {"estimate_log_z": None}),
    (exact_nll, {"exact_log_prob": None}),
])  # fmt: skip
def test_grey_pixels_have_no_likelihood_under_black_and_white_units(metric, parts):
    run = run_of(model_of(support="binary", **parts))
    with pytest.raises(DoesNotApply, match="no density for grey pixels"):
        metric(run, data_of(GREY, GREY), options())
    run.settings.dynamic_binarization = True
    require_density(run, data_of(GREY, GREY))


@pytest.mark.slow
@pytest.mark.parametrize("function, rows", [("sigmoid", GREY), ("exp", BETA)])
def test_exact_nll_is_scipys(function, rows):
    """Of logit-normal pixels, uniform within their levels, and of log-normal points."""
    data, mu, sigma = data_of(rows, rows), -0.4, 0.5
    model = Pushforward(data_shape=data.shape, function=function)
    model.generator.mu.assign(np.full(data.shape, mu))
    model.generator.log_sigma.assign(np.full(data.shape, np.log(sigma)))
    (x,) = held_out_batches(data, 400, dequantize=True)
    x = x.numpy().astype(np.float64).reshape(len(rows), -1)
    u, slope = (special.logit(x), x * (1 - x)) if function == "sigmoid" else (np.log(x), x)
    nll = -(stats.norm.logpdf(u, mu, sigma) - np.log(slope)).sum(1)
    found, name = exact_nll(run_of(model), data, options(batch_size=70)), {"sigmoid": "dequantized_nll", "exp": "nll"}
    assert found[name[function]] == pytest.approx(nll.mean(), rel=1e-5)
    assert found[f"{name[function]}_standard_error"] == pytest.approx(nll.std(ddof=1) / np.sqrt(len(rows)), rel=1e-4)
    assert found["num_examples"] == len(rows)
    if function == "sigmoid":
        edges = stats.norm.cdf(special.logit(np.linspace(0, 1, 257)), mu, sigma)
        assert abs(found["bits_per_dimension"] + np.log2(np.diff(edges)[GREY]).mean()) < 0.002


@pytest.mark.slow
def test_a_posterior_that_is_not_the_models_own():
    """Of an AVB, r's bounds are not the model's ELBO, nor is p(z) a proposal."""
    given = options(num_importance_samples=3)
    for adaptive_contrast in (True, False):
        small = dict.fromkeys(("hidden_units", "noise_units", "adversary_units"), (2,))
        model = AVB(data_shape=(2, 2, 1), latent_size=1, adaptive_contrast=adaptive_contrast, **small)
        if adaptive_contrast:
            result = importance_weighted_nll(run_of(model), data_of(GREY, BLACK_AND_WHITE), given)
            assert "nll" in result and "negative_elbo" not in result
        else:
            with pytest.raises(DoesNotApply):
                importance_weighted_nll(run_of(model), data_of(GREY, GREY), given)


@pytest.mark.slow
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


def test_held_out_losses_of_minibatches_count_by_their_rows():
    """The distance of means of minibatches of 2 and of 1 from a generator of zeros."""
    model = GMMN(data_shape=(1,), latent_size=1, discrepancy="mean", generator_units=())
    for weight in model.weights_of("generator"):
        weight.assign(tf.zeros_like(weight))
    model.compile()
    data = data_of(np.ones([1, 1], np.float32), np.array([[1.0], [1.0], [4.0]], np.float32))
    found = held_out_objectives(run_of(model), data, options(batch_size=2))
    assert found == {"generator_loss": pytest.approx((2 * 1 + 1 * 16) / 3)}


@pytest.mark.slow
def test_held_out_objectives_scale_images_to_the_models_range(images):
    model = GAN(data_shape=(2, 2, 1), latent_size=2, generator_units=(3,), discriminator_units=())
    model.compile()
    model.discriminator.set_weights([np.ones([4, 1]), np.array([0.5])])  # logit: the sum of the pixels, plus 1/2
    result = held_out_objectives(run_of(model), images, options())
    sums = (images.test.astype(np.float64) / 127.5 - 1).sum((1, 2, 3)) + 0.5
    np.testing.assert_allclose(result["accuracy_on_real"], np.mean(sums > 0), rtol=1e-6)

"""Parts of the KL and information of factors, of encoders for which they are known."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats

from tests.trainers.metrics.made import data_of, options, run_of
from trainers.metrics import disentanglement
from trainers.metrics.disentanglement import kl_decomposition, latent_traversals, mutual_information_gap
from zoo.parts.distributions import PRIORS


def encoder(mean, std):
    """A run whose model has the posterior N(mean(x), std(x)^2) of points x."""

    def encode(points):
        return {"z": mean(points), "z_log_var": 2.0 * tf.math.log(std * tf.ones_like(mean(points)))}

    signatures = {"encode": (encode, {"points": None})}
    model = SimpleNamespace(data_name="points", latent_prior=PRIORS["normal"], signatures=lambda: signatures)
    return run_of(model)


def grid_of(*counts, repeat=1):
    """Points whose coordinates are factors "a", "b", ... of so many values, the last of which is the label."""
    values = np.repeat(np.indices(counts).reshape(len(counts), -1), repeat, axis=1)
    points = values.T.astype(np.float32)
    factors = dict(zip("abc", values[:-1], strict=False))
    return dataclasses.replace(data_of(points, points, labels=(values[-1], values[-1])), factors=factors)


@pytest.mark.parametrize("columns, mig, with_labels", [
    ([0, 1, 2], 1, 1),  # a latent for each factor
    ([1, 0, 2, 2], 1, 2 / 3),  # two for the label
    ([0, 0, 1, 1, 2, 2], 0, 0),  # two for each
    ([0, 1, 1, 2], 1 / 2, 2 / 3),
])  # fmt: skip
def test_gap_of_codes_that_are_the_factors(columns, mig, with_labels):
    found = mutual_information_gap(encoder(lambda x: tf.gather(x, columns, axis=1), 1e-3), grid_of(4, 3, 5), options())
    assert found["mig"] == pytest.approx(mig, abs=1e-5) and found["num_draws"] == 60
    assert found["mig_with_labels"] == pytest.approx(with_labels, abs=1e-5)


def test_gap_where_some_values_were_not_drawn(monkeypatch):
    monkeypatch.setattr(disentanglement, "NUM_DRAWS", 2)
    found = mutual_information_gap(encoder(lambda x: x, 1e-3), grid_of(4, 3, 5), options())
    assert found["num_draws"] == 2 and 0.0 < found["mig"] < 2.0  # of so few draws no estimate, but a number


@pytest.mark.slow
@pytest.mark.parametrize("num_draws", [10_000, 600])  # all rows, or some
def test_gap_of_noisy_codes_by_quadrature(num_draws, monkeypatch):
    """Two latents see a factor of two values under different noise, and one of them another a little."""
    monkeypatch.setattr(disentanglement, "NUM_DRAWS", num_draws)
    std, shift = np.array([0.4, 1.0], np.float32), np.array([[1.0, 0.0], [1.0, 0.5], [0.0, 0.0]])
    run = encoder(lambda x: x @ tf.constant(shift, tf.float32), std)  # z_0 = a + b, z_1 = b / 2
    data = grid_of(2, 3, 2, repeat=200)
    found = mutual_information_gap(run, data, options())
    z = np.linspace(-8, 12, 4001)

    def entropy(values, s):
        density = stats.norm.pdf(z[:, None], values, s).mean(1)
        return -np.trapezoid(density * np.log(density + 1e-300), z)

    a, b = (grid.ravel() for grid in np.indices([2, 3]))
    gaps = {}
    for name, factor in (("a", a), ("b", b)):
        of = [
            entropy(code, s) - np.mean([entropy(code[factor == v], s) for v in np.unique(factor)])
            for code, s in ((a + b, std[0]), (b / 2, std[1]))
        ]
        gaps[name] = abs(of[0] - of[1]) / np.log(len(np.unique(factor)))
    for name, truth in {"mig": np.mean([*gaps.values()]), **{f"gap_of_{k}": v for k, v in gaps.items()}}.items():
        assert abs(found[name] - truth) < 4 * found[f"{name}_standard_error"] < 0.2, name
    assert gaps["a"] > 0.1 and found["num_draws"] == min(num_draws, 2400)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_parts_of_the_divergence_of_correlated_gaussians(rho):
    s, C = 0.5, np.array([[1.0, rho], [rho, 1.0]])
    x = np.random.default_rng(0).multivariate_normal([0, 0], C - s**2 * np.eye(2), 3000)
    x = x.astype(np.float32)
    found = kl_decomposition(encoder(lambda x: x, s), data_of(x, x), options(batch_size=1000))
    truth = {
        "index_code_information": 0.5 * np.linalg.slogdet(C)[1] - np.log(s**2),
        "total_correlation": -0.5 * np.log(1 - rho**2),
        "dimension_wise_kl": 0.0,
    }
    for name, value in truth.items():
        assert abs(found[name] - value) < 4 * found[f"{name}_standard_error"] + 0.02, name
    total, error = sum(found[name] for name in truth), sum(found[f"{name}_standard_error"] for name in truth)
    assert abs(total - found["kl"]) < 3 * error
    assert found["kl"] == pytest.approx(0.5 * np.sum(s**2 + np.square(x).mean(0) - 1 - np.log(s**2)), rel=1e-4)


def test_traversals_change_pixels_by_what_the_decoder_says(tmp_path):
    slopes = tf.constant([0.05, 0.2, 0.1])

    def decode(z):
        return {"images": (0.5 + slopes * z)[:, :, None, None]}

    model = SimpleNamespace(
        data_name="images", signatures=lambda: {"decode": (decode, {"z": None})},
        latent=lambda seeds: tf.math.ndtri((tf.cast(seeds, tf.float32)[:, None] + [0.5, 0.5, 0.5]) / 1e4),
    )  # fmt: skip
    images = np.zeros([5, 3, 1, 1], np.uint8)
    found = latent_traversals(run_of(model, tmp_path), data_of(images, images), options())
    assert [name for name in found if name.startswith("change")] == [f"change_of_latent_{j}" for j in (1, 2, 0)]
    spread = stats.norm.ppf(disentanglement.QUANTILES).std()
    for j, slope in enumerate(slopes.numpy()):
        assert found[f"change_of_latent_{j}"] == pytest.approx(slope * spread / np.sqrt(3), rel=1e-3)
    with Image.open(tmp_path / "traversals.png") as picture:
        assert picture.size[0] > picture.size[1]

"""Functions of Gaussian noise against SciPy's distributions, quadrature, and maximum likelihood in closed form."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, optimize, special, stats

from tests.zoo.steps import train_by_adam
from trainers import data as datasets
from trainers.metrics import theory
from zoo.studies.pushforward import FUNCTIONS, Pushforward

INVERSES = {"exp": np.log, "sigmoid": special.logit}


def model_of(function, mu=0.0, sigma=1.0, data_shape=(1,), cls=Pushforward):
    model = cls(data_shape=data_shape, function=function)
    model.generator.mu.assign(np.broadcast_to(mu, data_shape))
    model.generator.log_sigma.assign(np.broadcast_to(np.log(sigma), data_shape))
    return model


class LogitNormal:
    """Mead 1965: the density of which the logit is normal, by its formula."""

    def __init__(self, mu, sigma):
        self.u = stats.norm(mu, sigma)

    def logpdf(self, x):
        return self.u.logpdf(special.logit(x)) - np.log(x * (1 - x))

    def cdf(self, x):
        return self.u.cdf(special.logit(x))


def truth_of(function, mu, sigma):
    if function == "exp":
        return stats.lognorm(s=sigma, scale=np.exp(mu))
    if function == "sigmoid":
        return LogitNormal(mu, sigma)
    if mu == 0.0:
        return stats.chi2(df=1, scale=sigma**2)
    return stats.ncx2(df=1, nc=(mu / sigma) ** 2, scale=sigma**2)


@pytest.mark.parametrize("mu, sigma", [(0.0, 1.0), (0.6, 0.4), (-0.8, 1.5)])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_density_is_scipys_and_integrates_to_one_and_samples_have_it(function, mu, sigma):
    """By x = t^2, under which the pole of a square at 0 is none; up to where 1e-6 is left.

    Of samples, a sigma that is 10 % larger is found out.
    """
    model, truth = model_of(function, mu, sigma), truth_of(function, mu, sigma)
    x = (np.linspace(0.01, 0.99, 60) * (1.0 if function == "sigmoid" else 5.0)).astype(np.float32)
    served, _ = model.signatures()["log_prob"]
    np.testing.assert_allclose(served(points=x[:, None])["log_prob"], truth.logpdf(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.cdf(x[:, None])[:, 0], truth.cdf(x), rtol=1e-4, atol=1e-5)
    end = 1.0 if function == "sigmoid" else truth.ppf(1 - 1e-6)
    t = np.linspace(0.0, np.sqrt(end), 40_002)[1:-1]
    density = np.exp(model.exact_log_prob(tf.constant(t[:, None] ** 2, tf.float32)))
    np.testing.assert_allclose(integrate.simpson(density * 2 * t, x=t), 1.0, atol=2e-3)
    samples = model.sample(tf.range(20_000, dtype=tf.int64)).numpy()[:, 0]
    assert stats.kstest(samples, truth.cdf).pvalue > 0.01
    assert stats.kstest(samples, truth_of(function, mu, 1.1 * sigma).cdf).pvalue < 1e-4


def fit(function, x):
    """A model and its u after maximum likelihood by 400 full batches, the rate falling to 0."""
    model = Pushforward(data_shape=x.shape[1:], function=function)
    train_by_adam(model, tf.constant(x, tf.float32), 400, len(x), 0.05)
    return model, model.u()


@pytest.mark.slow
@pytest.mark.parametrize("function", INVERSES)
def test_fit_is_mean_and_deviation_of_the_inverse(function):
    """Of each element for itself."""
    h = np.random.default_rng(0).normal(size=[500, 2]) * [0.5, 1.5] + [-0.5, 1.0]
    x = np.exp(h) if function == "exp" else special.expit(h)
    _, u = fit(function, x)
    inverse = INVERSES[function](x)
    np.testing.assert_allclose(u.loc, inverse.mean(0), atol=1e-3)
    np.testing.assert_allclose(u.scale, inverse.std(0), rtol=1e-3)


@pytest.mark.slow
def test_fit_of_a_square_maximises_the_likelihood_that_scipy_gives():
    x = np.square(np.random.default_rng(0).normal(1.5, 0.7, size=[500, 1]))
    model, u = fit("square", x)

    def nll(parameters):
        return -truth_of("square", *parameters).logpdf(x).mean()

    best = optimize.minimize(nll, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9})
    np.testing.assert_allclose([u.loc[0], u.scale[0]], best.x, atol=2e-3)
    np.testing.assert_allclose(-np.mean(model.exact_log_prob(tf.constant(x, tf.float32))), best.fun, atol=1e-5)


def test_elements_of_an_image_are_independent():
    mu, sigma = np.linspace(-1, 1, 4).reshape(2, 2, 1), np.linspace(0.5, 2, 4).reshape(2, 2, 1)
    model = model_of("sigmoid", mu, sigma, data_shape=(2, 2, 1))
    levels = np.array([0, 17, 254, 255]).reshape(1, 2, 2, 1)
    expected = LogitNormal(mu, sigma).logpdf((levels + 0.5) / 256).sum()
    found = model.log_prob((levels / 255).astype(np.float32))["log_prob"]
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    z = np.random.default_rng(0).normal(size=[3, 4]).astype(np.float32)
    images = special.expit(mu + sigma * z.reshape(3, 2, 2, 1))
    np.testing.assert_allclose(model.decode(z), images, rtol=1e-5)


def test_training_sees_every_grey_level_as_an_interval():
    model = model_of("sigmoid", data_shape=(1, 1, 1))
    for level in (0, 100, 255):
        x = np.array(model.draw_within_levels(tf.fill([10_000, 1, 1, 1], level / 255.0)))
        assert np.all((x > level / 256) & (x < (level + 1) / 256)) and x.max() < 1.0
        assert stats.kstest(x.ravel() * 256 - level, stats.uniform.cdf).pvalue > 0.001
    assert np.isfinite(model.exact_log_prob(x)).all()


# --- The data, and the metric that compares -------------------------------------------------------------------------

FUNCTION_OF = {"log_normal": "exp", "chi_squared": "square", "logit_normal": "sigmoid"}


def report_of(model, data, folder):
    options = SimpleNamespace(num_model_samples=20_000, seed=0)
    return theory.density_against_theory(SimpleNamespace(model=model, path=folder), data, options)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTION_OF)
def test_data_have_the_distribution_of_their_name_and_the_metric_finds_no_difference(name, tmp_path):
    one, (_, mu, sigma) = datasets.load(name), datasets.PUSHED[name]
    assert one.shape == (1,) and one.train.dtype == np.float32 and (len(one.train), len(one.test)) == (100_000, 10_000)
    truth = stats.chi2(1) if name == "chi_squared" else truth_of(FUNCTION_OF[name], mu, sigma)
    for x in (one.train, one.test):
        assert stats.kstest(x[:, 0], truth.cdf).pvalue > 0.01
    report = report_of(model_of(FUNCTION_OF[name], mu, sigma), one, tmp_path)
    assert report["distance_of_samples"] < stats.kstwobign.isf(0.01) / np.sqrt(20_000)
    assert report["distance_of_test_data"] < stats.kstwobign.isf(0.01) / np.sqrt(10_000)
    assert report["distance_of_sets"] < 1e-4
    np.testing.assert_allclose([report["mu"], report["sigma"]], [mu, sigma], rtol=1e-6)
    assert (report["mu_of_data"], report["sigma_of_data"]) == (mu, sigma)
    assert (tmp_path / "density.png").stat().st_size > 1000


class Wrong(Pushforward):
    """Draws u with a deviation that is 10 % larger than the closed form's."""

    def decode(self, z):
        return super().decode(1.1 * z)


def test_metric_finds_out_samples_of_another_density_of_one_number(tmp_path):
    """The largest difference of N(0, 1) and N(0, 1.1^2) is known."""
    one = dataclasses.replace(datasets.load("log_normal"), name="another")
    report, u = report_of(model_of("exp", cls=Wrong), one, tmp_path), np.linspace(-4, 4, 10_001)
    expected = np.max(np.abs(stats.norm.cdf(u / 1.1) - stats.norm.cdf(u)))
    np.testing.assert_allclose(report["distance_of_sets"], expected, atol=1e-3)
    np.testing.assert_allclose(report["distance_of_samples"], expected, atol=0.01)
    assert report["distance_of_test_data"] > 0.1  # sigma is 0.5 there
    assert "mu_of_data" not in report

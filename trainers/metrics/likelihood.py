"""How probable a model finds held-out data: its own objectives, and estimates of the log-likelihood."""

import itertools

import numpy as np
import tensorflow as tf

from common.graph import graph
from trainers.metrics.rows import batches, require
from zoo.parts import estimators, noise

MAX_ELEMENTS = 2**24  # numbers in one layer of a decoder, 64 MiB: what bounds the memory of importance sampling
LAYER_SIZE = 500  # the least that a layer is taken to have for each example


def held_out_objectives(run, data, options):
    """The losses and metrics of training on the test set, networks in inference mode; means over examples.

    A loss of whole minibatches, such as a discrepancy, counts by their rows. Pixels are scored as training scores them,
    without dequantisation.
    """
    model = run.model
    step = graph(model.test_step)
    model.reset_metrics()
    logs, sizes = [], []
    for x in batches(run, data, options, "held-out objectives"):
        for tracker in model.trackers.values():
            tracker.reset_state()
        logs.append({name: float(value) for name, value in step(x).items()})
        sizes.append(len(x[0] if model.labelled else x))
    return {name: float(np.average([log[name] for log in logs], weights=sizes)) for name in logs[0]}


def is_density(model):
    """Whether p(x|z) is a density of real numbers, so that 8-bit pixels are to be dequantised before it scores them."""
    return model.likelihood == "gaussian"


def nll_name(run, data):
    """What -log p(x) is called: `unnormalized_nll` where it is that of no density, as a Bernoulli's of grey pixels.

    p^x (1 - p)^(1 - x) has an integral of at most 1/2 over x in [0, 1]: -log p(x) of the density of that shape is
    smaller by log 2 a pixel, or more. It is at least the mean -log p of black and white
    images drawn from the grey.
    """
    return "unnormalized_nll" if scores_grey(run, data) and not is_density(run.model) else "nll"


def scores_grey(run, data):
    """Whether there are values between black and white, or 0 and 1, in the test rows as they are scored."""
    if data.test.dtype == np.uint8:
        return not run.settings.dynamic_binarization and bool(np.any((data.test > 0) & (data.test < 255)))
    return bool(np.any((data.test > 0.0) & (data.test < 1.0)))


def summary(name, nll, model, data):
    """The mean of -log p(x), nats [n], under its name, and its standard error; of 8-bit pixels' density in bits, too.

    A pixel's density in [0, 1], divided by 256, is a probability of its 256 values: that is 8 bits more.
    """
    found = {name: float(nll.mean()), f"{name}_standard_error": float(nll.std(ddof=1) / np.sqrt(len(nll)))}
    if is_density(model) and data.test.dtype == np.uint8:
        found["bits_per_dimension"] = found[name] / np.log(2.0) / int(np.prod(data.shape)) + 8.0
    return found


def importance_weighted_nll(run, data, options):
    """Negative log-likelihood -log 1/S sum_s p(x, z_s) / q(z_s | x), z_s ~ q, in nats: an upper bound in expectation.

    Burda et al. 2016, equation 8; Rezende et al. 2014 evaluate in the same way.
    """
    model = run.model
    require(getattr(model, "has_proposal", False), "the model has no density to propose latents from")
    num_samples = options.num_importance_samples

    @graph
    def log_weights(x, num, chunk):  # every chunk of draws has noise of its own
        with model.drawing(noise.EVALUATION, chunk, options.seed):
            return model.log_weights(x, num)

    bounds, elbos, chunks = [], [], itertools.count()
    for x in batches(run, data, options, "importance-weighted NLL", dequantize=is_density(model)):
        size = _rows_at_once(data) // len(x) or 1
        sizes = [min(size, num_samples - first) for first in range(0, num_samples, size)]
        log_w = tf.concat([log_weights(x, tf.constant(num), tf.constant(next(chunks))) for num in sizes], axis=0)
        bounds.append(estimators.iwae(log_w))
        elbos.append(estimators.elbo(log_w))
    nll = -np.concatenate(bounds)
    name = nll_name(run, data)
    elbo = {name.replace("nll", "negative_elbo"): -float(np.concatenate(elbos).mean())} if model.proposes_by_q else {}
    more = {"num_importance_samples": num_samples, "num_examples": len(nll)}
    return summary(name, nll, model, data) | elbo | more


def _rows_at_once(data):
    """Rows of data that a model may decode at once."""
    return MAX_ELEMENTS // max(LAYER_SIZE, int(np.prod(data.shape)))

"""Log-likelihoods by annealed importance sampling, of decoders and of models with a partition function."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from common.cli import progress
from common.graph import graph
from trainers.metrics import likelihood
from trainers.metrics.rows import batches, held_out, require, served
from zoo.parts import annealing, estimators, networks, noise


class Blurred:
    """A generator with the likelihood p(x|z) = N(x; G(z), variance I), which Wu et al. 2017 give to those without one.

    G(z) and x are as they are served, pixels in [0, 1].
    """

    support, labelled, conditional = "reals", False, False

    def __init__(self, model, variance):
        require("decode" in model.signatures(), "the model has no generator of a latent")
        require(not model.conditional, "the model's generator is told a class, and chains are not")
        self.latent_prior, self.latent_size = model.latent_prior, model.latent_size
        self.decode, self.event_ndims = model.decode, len(model.data_shape)
        self.deviation = math.sqrt(variance)

    def p(self, z):
        mean = networks.over_leading_axes(lambda z, training: self.decode(z), z)
        return tfd.Independent(tfd.Normal(mean, self.deviation), self.event_ndims)


def require_chains(model):
    """Raises `DoesNotApply` for a model whose latents Hamiltonian Monte Carlo can not move."""
    require(hasattr(model, "p") and model.support, "the model has no likelihood p(x|z)")
    require(not model.conditional, "the model's likelihood is told the class of a row, and chains are not")
    require(getattr(model, "latent_prior", None), "the model's latents are not real numbers of a known prior density")


def blurred(run, options):
    """The run, with `--decoder_variance` with its generator as `Blurred`."""
    variance = options.decoder_variance
    return dataclasses.replace(run, model=Blurred(run.model, variance)) if variance else run


@likelihood.metric_of_rows(blurred)
def ais_nll(run, data, options):
    """Negative log-likelihood by annealed importance sampling through the decoder, in nats, of a part of the test set.

    Wu et al. 2017 (arXiv:1611.04273): above the true value in expectation, by less the more temperatures there are.
    `ais_gap` tells how much that may be. With `--decoder_variance` p(x|z) is that of `Blurred`, for any generator.
    """
    model = run.model
    require_chains(model)
    likelihood.require_density(run, data)
    num_examples = min(options.num_ais_examples, len(data.test))
    rows = np.random.default_rng(options.seed).choice(len(data.test), num_examples, replace=False)

    def tested(size):
        dequantize = likelihood.is_density(model)
        for x in held_out(run, data, size, with_labels=False, dequantize=dequantize, rows=rows):
            yield x, None

    (log_prob,), more = _bounds("annealed importance sampling", model, data, options, num_examples, tested)
    return -log_prob, more


def ais_gap(run, data, options):
    """What annealed importance sampling leaves open of log p(x), in nats, for data that the model itself draws.

    With z ~ p(z), x ~ p(x|z) an exact draw of the posterior is known, z, from which chains go back to the prior and
    bound log p(x) from above. In expectation it lies between both bounds: the mean gap bounds the error of the lower
    one, and that of `ais_nll` by the same settings as far as the test set is like these data, which are binary where
    the likelihood is Bernoulli, and not clipped where it is Gaussian. Standard errors are those of means over examples.

    Bidirectional Monte Carlo, Grosse et al. 2015 (arXiv:1511.02543); Wu et al. 2017 (arXiv:1611.04273), section 4.2.
    """
    model = run.model
    require_chains(model)
    num_examples = options.num_ais_examples

    def drawn(size):
        for first in range(0, num_examples, size):
            seeds = options.seed + tf.range(first, min(first + size, num_examples), dtype=tf.int64)
            z = model.latent(seeds)
            yield model.family.rows(model.p(z), seeds), z

    (lower, upper), more = _bounds("bidirectional Monte Carlo", model, data, options, num_examples, drawn, directions=2)
    means = {}
    for name, values in (("log_prob_lower_bound", lower), ("log_prob_upper_bound", upper), ("gap", upper - lower)):
        means[name] = float(values.mean())
        means[f"{name}_standard_error"] = float(values.std(ddof=1) / np.sqrt(num_examples))
    return means | more | {"num_examples": num_examples}


def ais_log_likelihood(run, data, options):
    """Log-likelihood in nats of a model with a partition function Z, which annealed importance sampling estimates.

    A lower bound on it is that by mean field, or by a draw of q, minus log Z (of an RBM, the log-likelihood itself).
    8-bit pixels are dequantised once under a density. Forward estimates of log Z are too small in expectation, so that
    `log_prob_lower_bound` is too high; backward ones, from states that training rows lead to, err the other way as far
    as these are samples of the machine. Standard errors have the part of the rows and that of log Z, which are
    independent. `of_training_rows` is the bound of as many rows of the training set, by the forward estimate: by how
    much it is higher, the machine has learned rows by heart.

    Salakhutdinov and Murray 2008; Salakhutdinov and Hinton 2009, section 3.3.
    """
    model = run.model
    require(hasattr(model, "estimate_log_z"), "the model has no partition function")
    likelihood.require_density(run, data)
    settings = {"num_betas": options.num_betas, "num_runs": options.num_runs, "seed": options.seed}
    bar = progress("log Z forward", options.num_betas, "sweep")
    forward = model.estimate_log_z(**settings, progress=bar.add)
    rows = np.random.default_rng(options.seed).choice(len(data.train), options.num_runs)
    bar = progress("log Z backward", 2 * options.num_betas, "sweep")
    backward = model.estimate_log_z(**settings, samples=model.states(served(data.train[rows])), progress=bar.add)

    @graph
    def bound(x, batch):
        with model.drawing(noise.EVALUATION, batch, options.seed):
            return model.unnormalized_bound(x)

    def bounds(title, **which):
        """Mean and standard error over rows."""
        found = batches(run, data, options, title, dequantize=likelihood.is_density(model), **which)
        found = np.concatenate([bound(x, tf.constant(i)) for i, x in enumerate(found)])
        return float(found.mean()), found.std(ddof=1) / np.sqrt(len(found))

    num = min(len(data.train), len(data.test))
    trained = np.random.default_rng(options.seed).choice(len(data.train), num, replace=False)
    of_test, of_train = bounds("bounds"), bounds("bounds of training rows", split="train", rows=trained)

    def by(bound, log_z, name):
        return {
            name: bound[0] - log_z.value,
            f"{name}_standard_error": float(np.hypot(bound[1], log_z.standard_error)),
        }

    return {
        **by(of_test, forward, "log_prob_lower_bound"),
        **by(of_test, backward, "by_backward_log_z"),
        **by(of_train, forward, "of_training_rows"),
        "log_z": forward.value,
        "log_z_standard_error": forward.standard_error,
        "log_z_backward": backward.value,
        "log_z_backward_standard_error": backward.standard_error,
        "num_betas": options.num_betas,
        "num_runs": options.num_runs,
        "num_examples": len(data.test),
    }


def _bounds(title, model, data, options, num_examples, rows, directions=1):
    """Bounds on log p(x) in nats, float64 [directions, num_examples], and what is to be kept with them.

    The first is a lower bound in expectation, the second an upper one. `rows` is a function of how many fit into memory
    that yields x, and for the second a draw of p(z|x) for each.
    """
    settings = {
        "num_chains": options.num_ais_chains,
        "num_temperatures": options.num_ais_temperatures,
        "num_leapfrog_steps": options.num_ais_leapfrog_steps,
    }
    chains = annealing.DecoderAnnealing(
        model.latent_prior, lambda x, z: model.p(z).log_prob(x), model.latent_size, seed=options.seed, **settings
    )
    side_by_side = max(options.num_ais_chains, annealing.PILOT_CHAINS)
    size = min(options.batch_size, likelihood._rows_at_once(data, model) // side_by_side or 1)
    num_transitions = chains.num_pilot_transitions + directions * chains.num_transitions
    bar = progress(title, -(-num_examples // size) * num_transitions, "transition")
    bounds, rates = [], []
    for i, (x, z) in enumerate(rows(size)):
        step_sizes = chains.step_sizes(x, i, bar.add)
        for sign, samples in ((1.0, None), (-1.0, z))[:directions]:
            log_w, rate = chains.log_weights(x, step_sizes, i, samples, bar.add)
            bounds.append(sign * estimators.iwae(log_w))
            rates += [float(rate)] * len(x)
    bounds = [np.concatenate(bounds[i::directions]) for i in range(directions)]
    return bounds, {"acceptance_rate": float(np.mean(rates)), **settings}

"""How probable a model finds held-out data: its own objectives, and estimates of the log-likelihood."""

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from common.graph import graph
from trainers.metrics.rows import batches, held_out, progress, require, served
from zoo.parts import annealing, estimators, noise
from zoo.parts.levels import at_levels

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
    """Whether p(x) is a density of real numbers, so that 8-bit pixels are to be dequantised before it scores them."""
    return model.support == "reals"


def require_density(run, data):
    """Raises `DoesNotApply` for test rows that the model has no states for and no density."""
    grey = run.model.support == "binary" and scores_grey(run, data)
    require(not grey, "the model is of black and white pixels, and has no states and no density for grey pixels")


def nll_name(run, data):
    """What -log p(x) of the test rows is called: `nll` where it is that of a probability, or of a density of points.

    dequantized_nll: of 8-bit pixels' density after `levels.dequantized`, an upper bound in expectation on that of their
        probability.
    rounded_nll: of the probability of images that are the rows rounded to the model's levels. More levels than these
        were in the data, so that it can not be compared with models of the rows themselves; refused it is not, for
        models of as many levels can be compared by it.
    cross_entropy: no log-probability. p^x (1 - p)^(1 - x) of a grey pixel x under a Bernoulli likelihood has neither a
        sum nor an integral of 1 over x: over [0, 1] it is at most 1 / 2.
    """
    model, images = run.model, data.test.dtype == np.uint8
    if model.support == "binary":
        return "cross_entropy" if scores_grey(run, data) else "nll"
    if model.support == "levels":
        known = run.settings.dynamic_binarization or at_levels(data.test, model.num_levels).all()
        return "nll" if known else "rounded_nll"
    return "dequantized_nll" if images else "nll"


def scores_grey(run, data):
    """Whether there are values between black and white, or 0 and 1, in the test rows as they are scored."""
    if data.test.dtype == np.uint8:
        return not run.settings.dynamic_binarization and bool(np.any((data.test > 0) & (data.test < 255)))
    return bool(np.any((data.test > 0.0) & (data.test < 1.0)))


def summary(name, nll, model, data):
    """The mean of -log p(x), nats [n], under its name, and its standard error; of grey levels in bits a number, too.

    A density of a pixel in [0, 1], divided by 256, is a probability of its 256 values: that is 8 bits more.
    """
    found = {name: float(nll.mean()), f"{name}_standard_error": float(nll.std(ddof=1) / np.sqrt(len(nll)))}
    if name == "dequantized_nll" or (name == "nll" and model.support == "levels"):
        bits = found[name] / np.log(2.0) / int(np.prod(data.shape))
        found["bits_per_dimension"] = bits + (8.0 if is_density(model) else 0.0)
    return found


def exact_nll(run, data, options):
    """Negative log-likelihood in nats, of a model that can compute it: no bound and no estimate.

    Of 8-bit pixels under a density it is the mean over one dequantisation of each row.
    """
    model = run.model
    require(hasattr(model, "exact_log_prob"), "the model's log p(x) is no closed form")
    require_density(run, data)
    score = graph(model.exact_log_prob)
    rows = batches(run, data, options, "exact NLL", dequantize=is_density(model))
    nll = -np.concatenate([score(x) for x in rows])
    return summary(nll_name(run, data), nll, model, data) | {"num_examples": len(nll)}


def importance_weighted_nll(run, data, options):
    """Negative log-likelihood -log 1/S sum_s p(x, z_s) / q(z_s | x), z_s ~ q, in nats: an upper bound in expectation.

    Burda et al. 2016, equation 8; Rezende et al. 2014 evaluate in the same way. Its name tells what p(x) is of, see
    `nll_name`; so does that of the bound -E log p(x, z) / q(z | x), `negative_elbo`.
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
        size = _rows_at_once(data, model) // len(x) or 1
        sizes = [min(size, num_samples - first) for first in range(0, num_samples, size)]
        log_w = tf.concat([log_weights(x, tf.constant(num), tf.constant(next(chunks))) for num in sizes], axis=0)
        bounds.append(estimators.iwae(log_w))
        elbos.append(estimators.elbo(log_w))
    nll = -np.concatenate(bounds)
    name = nll_name(run, data)
    elbo_name = name.replace("cross_entropy", "cross_entropy_nll").replace("nll", "negative_elbo")
    elbo = {elbo_name: -float(np.concatenate(elbos).mean())} if model.proposes_by_q else {}
    more = {"num_importance_samples": num_samples, "num_examples": len(nll)}
    return summary(name, nll, model, data) | elbo | more


def ais_nll(run, data, options):
    """Negative log-likelihood by annealed importance sampling through the decoder, in nats, of a part of the test set.

    Wu et al. 2017 (arXiv:1611.04273): above the true value in expectation, by less the more temperatures there are.
    """
    model = run.model
    require(hasattr(model, "p"), "the model has no likelihood p(x|z)")
    require_density(run, data)
    num_examples = min(options.num_ais_examples, len(data.test))
    rows = np.random.default_rng(options.seed).choice(len(data.test), num_examples, replace=False)
    chains, temperatures = options.num_ais_chains, options.num_ais_temperatures
    log_weights = annealing.decoder_log_weights(
        model.latent_prior,
        lambda x, z: model.p(z).log_prob(x),
        model.latent_size,
        num_chains=chains,
        num_temperatures=temperatures,
        num_leapfrog_steps=options.num_ais_leapfrog_steps,
        seed=options.seed,
    )
    size = min(options.batch_size, _rows_at_once(data, model) // chains or 1)
    bar = progress("annealed importance sampling", -(-num_examples // size) * temperatures, "temperature")
    bounds, acceptance = [], []
    some = dataclasses.replace(data, test=data.test[rows], test_labels=None)
    for i, x in enumerate(held_out(run, some, size, dequantize=is_density(model))):
        log_w, accepted = log_weights(x, i, lambda done: bar.update(i * temperatures + done))
        bounds.append(estimators.iwae(log_w))
        acceptance += [float(accepted)] * len(x)
    nll = -np.concatenate(bounds)
    return summary(nll_name(run, data), nll, model, data) | {
        "acceptance_rate": float(np.mean(acceptance)),
        "num_chains": chains,
        "num_temperatures": temperatures,
        "num_leapfrog_steps": options.num_ais_leapfrog_steps,
        "num_examples": num_examples,
    }


def ais_log_likelihood(run, data, options):
    """Log-likelihood in nats of a model with a partition function Z, which annealed importance sampling estimates.

    A lower bound on it is the mean-field bound minus log Z (of an RBM, the log-likelihood itself). Forward estimates of
    log Z are too small in expectation, so that `log_prob_lower_bound` is too high; backward ones, from states that
    training rows lead to, err the other way as far as these are samples of the machine. Standard errors have the part
    of the test rows and that of log Z, which are independent.

    Salakhutdinov and Murray 2008; Salakhutdinov and Hinton 2009, section 3.3.
    """
    model = run.model
    require(hasattr(model, "estimate_log_z"), "the model has no partition function")
    require_density(run, data)
    settings = {"num_betas": options.num_betas, "num_runs": options.num_runs, "seed": options.seed}
    bar = progress("log Z forward", options.num_betas, "sweep")
    forward = model.estimate_log_z(**settings, progress=bar.update)
    rows = np.random.default_rng(options.seed).choice(len(data.train), options.num_runs)
    bar = progress("log Z backward", 2 * options.num_betas, "sweep")
    backward = model.estimate_log_z(**settings, samples=model.states(served(data.train[rows])), progress=bar.update)
    bound = graph(model.unnormalized_bound)
    bounds = np.concatenate([bound(x) for x in batches(run, data, options, "bounds")])
    error_of_rows = bounds.std(ddof=1) / np.sqrt(len(bounds))
    return {
        "log_prob_lower_bound": float(bounds.mean()) - forward.value,
        "log_prob_lower_bound_standard_error": float(np.hypot(error_of_rows, forward.standard_error)),
        "by_backward_log_z": float(bounds.mean()) - backward.value,
        "by_backward_log_z_standard_error": float(np.hypot(error_of_rows, backward.standard_error)),
        "log_z": forward.value,
        "log_z_standard_error": forward.standard_error,
        "log_z_backward": backward.value,
        "log_z_backward_standard_error": backward.standard_error,
        "num_betas": options.num_betas,
        "num_runs": options.num_runs,
        "num_examples": len(bounds),
    }


def _rows_at_once(data, model):
    """Rows of data that a model may decode at once."""
    numbers = model.num_levels if model.support == "levels" else 1  # that a pixel may need to be scored
    return MAX_ELEMENTS // max(LAYER_SIZE, numbers * int(np.prod(data.shape)))

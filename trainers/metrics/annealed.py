"""Log-likelihoods by annealed importance sampling, of decoders and of models with a partition function."""

import dataclasses

import numpy as np

from common.graph import graph
from trainers.metrics import likelihood
from trainers.metrics.rows import batches, held_out, progress, require, served
from zoo.parts import annealing, estimators


def ais_nll(run, data, options):
    """Negative log-likelihood by annealed importance sampling through the decoder, in nats, of a part of the test set.

    Wu et al. 2017 (arXiv:1611.04273): above the true value in expectation, by less the more temperatures there are.
    """
    model = run.model
    require(hasattr(model, "p"), "the model has no likelihood p(x|z)")
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
    size = min(options.batch_size, likelihood._rows_at_once(data) // chains or 1)
    bar = progress("annealed importance sampling", -(-num_examples // size) * temperatures, "temperature")
    bounds, acceptance = [], []
    some = dataclasses.replace(data, test=data.test[rows], test_labels=None)
    for i, x in enumerate(held_out(run, some, size, dequantize=likelihood.is_density(model))):
        log_w, accepted = log_weights(x, i, lambda done: bar.update(i * temperatures + done))
        bounds.append(estimators.iwae(log_w))
        acceptance += [float(accepted)] * len(x)
    nll = -np.concatenate(bounds)
    return likelihood.summary(likelihood.nll_name(run, data), nll, model, data) | {
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
    of the test rows and that of log Z, which are independent. Of grey pixels, which the machine has no states for, the
    bound is called `unnormalized_log_prob_lower_bound`.

    Salakhutdinov and Murray 2008; Salakhutdinov and Hinton 2009, section 3.3.
    """
    model = run.model
    require(hasattr(model, "estimate_log_z"), "the model has no partition function")
    settings = {"num_betas": options.num_betas, "num_runs": options.num_runs, "seed": options.seed}
    bar = progress("log Z forward", options.num_betas, "sweep")
    forward = model.estimate_log_z(**settings, progress=bar.update)
    rows = np.random.default_rng(options.seed).choice(len(data.train), options.num_runs)
    bar = progress("log Z backward", 2 * options.num_betas, "sweep")
    backward = model.estimate_log_z(**settings, samples=model.states(served(data.train[rows])), progress=bar.update)
    bound = graph(model.unnormalized_bound)
    bounds = np.concatenate([bound(x) for x in batches(run, data, options, "bounds")])
    error_of_rows = bounds.std(ddof=1) / np.sqrt(len(bounds))
    name = f"{'unnormalized_' if likelihood.scores_grey(run, data) else ''}log_prob_lower_bound"
    return {
        name: float(bounds.mean()) - forward.value,
        f"{name}_standard_error": float(np.hypot(error_of_rows, forward.standard_error)),
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

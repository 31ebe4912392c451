"""Measures a trained model on held-out data: `python -m trainers.evaluate --run_dir=RUN_DIR`.

A metric is one function of (run, data, options) that returns a dict of numbers, or None where it does not apply to the
model or the data; `METRICS` names them all. Results are printed and kept in RUN_DIR/evaluation.json.
"""

import json
import shlex
import sys

from absl import flags as absl_flags

from trainers import cli

with cli.quiet():
    import keras
    import numpy as np
    import tensorflow as tf

    from trainers import rundir
    from trainers.data import held_out_batches, load
    from zoo.parts import estimators, noise

MAX_ELEMENTS = 2**24  # numbers in one tensor of decoded data, 64 MiB: what bounds the memory of importance sampling


def held_out_objectives(run, data, options):
    """The losses and metrics of training on the test set, networks in inference mode; means over examples."""
    model = run.model
    step = tf.function(model.test_step)
    model.reset_metrics()
    for i, x in enumerate(_batches(run, data, options, "held-out objectives")):
        model.step.assign(i)  # the noise of batch i is that of step i
        step(x)
    return {name: float(value) for name, value in model.logs().items()}


def importance_weighted_nll(run, data, options):
    """Negative log-likelihood -log 1/S sum_s p(x, z_s) / q(z_s | x), z_s ~ q, in nats: an upper bound in expectation.

    Burda et al. 2016, equation 8; Kingma and Welling 2014 and Rezende et al. 2014 evaluate in the same way.
    """
    model = run.model
    if not hasattr(model, "log_weights"):
        return None
    num_samples = options.num_importance_samples
    log_weights = tf.function(model.log_weights, reduce_retracing=True)
    bounds, elbos = [], []
    for i, x in enumerate(_batches(run, data, options, "importance-weighted NLL")):
        chunk = max(1, MAX_ELEMENTS // int(np.prod(x.shape)))
        log_w = []
        for j, first in enumerate(range(0, num_samples, chunk)):
            (key,) = noise.keys(options.seed, i, j, 1)
            shape = [min(chunk, num_samples - first), len(x), model.latent_size]
            log_w.append(log_weights(x, noise.normal(key, shape)))
        log_w = tf.concat(log_w, axis=0)
        bounds.append(estimators.iwae(log_w))
        elbos.append(estimators.elbo(log_w))
    nll = -np.concatenate(bounds)
    return {
        "nll": float(nll.mean()),
        "standard_error": float(nll.std() / np.sqrt(len(nll))),
        "negative_elbo": -float(np.concatenate(elbos).mean()),
        "num_importance_samples": num_samples,
        "num_examples": len(nll),
    }


def ais_log_likelihood(run, data, options):
    """Log-likelihood in nats of a model with a partition function Z, which annealed importance sampling estimates.

    A lower bound on it is the mean-field bound minus log Z (of an RBM, the log-likelihood itself). Forward estimates of
    log Z are too small in expectation; backward ones, from states that training rows lead to, too large.

    Salakhutdinov and Murray 2008; Salakhutdinov and Hinton 2009, section 3.3.
    """
    model = run.model
    if not hasattr(model, "estimate_log_z"):
        return None
    settings = (options.num_betas, options.num_runs, options.seed)
    bar = _progress("log Z forward", options.num_betas, "sweep")
    forward = model.estimate_log_z(*settings, progress=bar.update)
    rows = np.random.default_rng(options.seed).choice(len(data.train), options.num_runs)
    bar = _progress("log Z backward", 2 * options.num_betas, "sweep")
    backward = model.estimate_log_z(*settings, samples=model.states(_served(data.train[rows])), progress=bar.update)
    bound = tf.function(model.unnormalized_bound, reduce_retracing=True)
    bounds = np.concatenate([bound(x) for x in _batches(run, data, options, "bounds")])
    return {
        "log_prob_lower_bound": float(bounds.mean()) - forward.value,
        "standard_error": float(bounds.std() / np.sqrt(len(bounds))),
        "log_z": forward.value,
        "log_z_standard_error": forward.standard_error,
        "log_z_backward": backward.value,
        "log_z_backward_standard_error": backward.standard_error,
        "num_betas": options.num_betas,
        "num_runs": options.num_runs,
        "num_examples": len(bounds),
    }


def modes_found(run, data, options):
    """Modes with at least one sample within 3 standard deviations, and the share of such samples.

    The protocol of Lin et al. 2018 (PacGAN, arXiv:1712.04086) for the ring of 8 and the grid of 25 Gaussians.
    """
    if data.modes is None:
        return None
    samples = _samples(run, options.num_model_samples, options)
    distance = np.linalg.norm(samples[:, None] - data.modes[None], axis=-1)
    nearest, good = distance.argmin(axis=1), distance.min(axis=1) <= 3.0 * data.mode_std
    return {
        "modes_found": len(np.unique(nearest[good])),
        "num_modes": len(data.modes),
        "high_quality_share": float(good.mean()),
        "num_model_samples": len(samples),
    }


def sample_energy_distance(run, data, options):
    """`energy_distance` between samples and test data, and between training and test data: the best there is."""
    num = min(options.num_model_samples, len(data.test), len(data.train))
    rng = np.random.default_rng(options.seed)
    test, train = (_served(x[rng.choice(len(x), num, replace=False)]) for x in (data.test, data.train))
    return {
        "energy_distance": energy_distance(_samples(run, num, options), test),
        "of_training_data": energy_distance(train, test),
        "num_model_samples": num,
    }


METRICS = {
    "ais_log_likelihood": ais_log_likelihood,
    "held_out_objectives": held_out_objectives,
    "importance_weighted_nll": importance_weighted_nll,
    "modes_found": modes_found,
    "sample_energy_distance": sample_energy_distance,
}


def energy_distance(x, y):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, at least 0, and 0 for equal distributions only.

    Szekely and Rizzo 2013 (Energy statistics), with unbiased means over distinct pairs: an estimate can be negative.

    Args:
        x, y: float arrays [n, ...] and [m, ...], n and m at least 2; rows are flattened.
    """
    x, y = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (x, y))

    def mean_distance(a, b, num_pairs):
        squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2.0 * a @ b.T
        return np.sqrt(np.maximum(squares, 0.0)).sum() / num_pairs

    within = sum(mean_distance(a, a, len(a) * (len(a) - 1)) for a in (x, y))
    return float(2.0 * mean_distance(x, y, len(x) * len(y)) - within)


def _served(x):
    """Data at rest as the model serves it."""
    return x / np.float32(255.0) if x.dtype == np.uint8 else x


def _samples(run, num, options):
    sample = tf.function(run.model.sample, reduce_retracing=True)
    seeds = tf.range(options.seed, options.seed + num, dtype=tf.int64)
    return np.concatenate([sample(seeds[i : i + options.batch_size]) for i in range(0, num, options.batch_size)])


def _progress(title, num, unit):
    print(title)
    return keras.utils.Progbar(num, unit_name=unit, verbose=int(sys.stdout.isatty()))


def _batches(run, data, options, title):
    """The test set in batches, with a progress bar."""
    batches = held_out_batches(
        data,
        options.batch_size,
        run.model.data_range,
        with_labels=run.model.conditional,
        binarize=run.settings.dynamic_binarization,
    )
    bar = _progress(title, len(data.test), "example")
    for batch in batches:
        yield batch
        bar.add(len(batch[0] if run.model.conditional else batch))


def evaluate(run_dir, options):
    """Applies every metric of `options.metrics` that fits the run; prints and returns the results.

    Raises:
        UserError: if the directory holds no run or no checkpoint, or its data can not be had.
    """
    run = rundir.load(run_dir)
    settings = run.settings
    data_dir = options.data_dir or settings.data_dir
    data = load(settings.dataset, data_dir, settings.image_side, settings.image_channels)
    file = run.path / "evaluation.json"
    results = {}
    for name in options.metrics or METRICS:
        if (numbers := METRICS[name](run, data, options)) is not None:
            results[name] = numbers
            print(name + ": " + ", ".join(f"{key} {round(value, 4)}" for key, value in numbers.items()))
    report = {
        "command": shlex.join(["python", "-m", "trainers.evaluate", *sys.argv[1:]]),
        "step": run.step,
        "seed": options.seed,
        "data_checksum": data.checksum,
        "results": results,
    }
    rundir.write_text(file, json.dumps(report, indent=2) + "\n")
    print(f"kept in {file}")
    return report


def main(argv):
    options = absl_flags.FlagValues()
    own = {"flag_values": options}
    absl_flags.DEFINE_string("run_dir", None, "The run to evaluate.", **own)
    absl_flags.DEFINE_string("data_dir", None, "Where the data lies, if not where the run found it.", **own)
    absl_flags.DEFINE_multi_enum(
        "metrics", None, sorted(METRICS), "A metric to apply (repeatable); default all.", **own
    )
    count = {"lower_bound": 1, **own}
    absl_flags.DEFINE_integer("num_importance_samples", 200, "Draws of z for each example.", **count)
    absl_flags.DEFINE_integer("num_betas", 10000, "Steps of annealed importance sampling.", **count)
    absl_flags.DEFINE_integer("num_runs", 100, "Runs of annealed importance sampling.", **count)
    absl_flags.DEFINE_integer("num_model_samples", 2500, "Samples drawn from the model.", **count)
    absl_flags.DEFINE_integer("batch_size", 100, "Examples at a time.", **count)
    absl_flags.DEFINE_integer("seed", 0, "Seed of the noise of the evaluation.", **own)
    cli.parse(options, argv, __doc__, required="run_dir")
    evaluate(options.run_dir, options)


if __name__ == "__main__":
    cli.run(main)

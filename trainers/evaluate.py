"""Measures a trained model on held-out data: `python -m trainers.evaluate --run_dir=RUN_DIR`.

A metric is one function of (run, data, options) that returns a dict of numbers, or None where it does not apply to the
model or the data; `METRICS` names them all. Results are printed and kept in RUN_DIR/evaluation.json.
"""

import dataclasses
import json
import shlex
import sys

from absl import flags as absl_flags

from common import cli

with cli.quiet():
    import keras
    import numpy as np
    import tensorflow as tf
    from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

    from common import pictures
    from trainers import classifier, points, rundir, theory
    from trainers.data import held_out_batches, load
    from zoo.parts import annealed, estimators, noise

NUM_MODEL_SAMPLES = 2500  # class_accuracy has a default of its own
MAX_ELEMENTS = 2**24  # numbers in one layer of a decoder, 64 MiB: what bounds the memory of importance sampling
LAYER_SIZE = 500  # the least that a layer is taken to have for each example


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
        chunk = _rows_at_once(data) // len(x) or 1
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


def ais_nll(run, data, options):
    """Negative log-likelihood by annealed importance sampling through the decoder, in nats, of a part of the test set.

    Wu et al. 2017 (arXiv:1611.04273): above the true value in expectation, by less the more temperatures there are.
    """
    model = run.model
    if not hasattr(model, "p"):
        return None
    num_examples = min(options.num_ais_examples, len(data.test))
    rows = np.random.default_rng(options.seed).choice(len(data.test), num_examples, replace=False)
    chains, temperatures = options.num_ais_chains, options.num_ais_temperatures
    log_weights = annealed.sampler(
        model.latent_prior,
        lambda x, z: model.p(z).log_prob(x),
        model.latent_size,
        num_chains=chains,
        num_temperatures=temperatures,
        num_leapfrog_steps=options.num_ais_leapfrog_steps,
        seed=options.seed,
    )
    size = min(options.batch_size, _rows_at_once(data) // chains or 1)
    bar = _progress("annealed importance sampling", -(-num_examples // size) * temperatures, "temperature")
    bounds, acceptance = [], []
    for i, x in enumerate(_held_out(run, dataclasses.replace(data, test=data.test[rows], test_labels=None), size)):
        log_w, accepted = log_weights(x, i, lambda t: bar.add(1))
        bounds.append(estimators.iwae(log_w))
        acceptance.append(accepted)
    nll = -np.concatenate(bounds)
    return {
        "nll": float(nll.mean()),
        "standard_error": float(nll.std() / np.sqrt(num_examples)),
        "acceptance_rate": float(np.mean(acceptance)),
        "num_chains": chains,
        "num_temperatures": temperatures,
        "num_leapfrog_steps": options.num_ais_leapfrog_steps,
        "num_examples": num_examples,
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
    if data.modes is None or "sample" not in run.model.signatures():
        return None
    samples = _samples(run, options.num_model_samples or NUM_MODEL_SAMPLES, options)
    found, share = points.count_modes(samples, data)
    return {
        "modes_found": found,
        "num_modes": len(data.modes),
        "high_quality_share": share,
        "num_model_samples": len(samples),
    }


def sample_energy_distance(run, data, options):
    """`energy_distance` between samples and test data, and between training and test data: the best there is."""
    if "sample" not in run.model.signatures():
        return None
    num = min(options.num_model_samples or NUM_MODEL_SAMPLES, len(data.test), len(data.train))
    rng = np.random.default_rng(options.seed)
    test_rows, train_rows = (rng.choice(len(x), num, replace=False) for x in (data.test, data.train))
    test, train = _served(data.test[test_rows]), _served(data.train[train_rows])
    labels = data.train_labels[train_rows] if run.model.conditional else None  # as frequent as in the data
    return {
        "energy_distance": energy_distance(_samples(run, num, options, labels), test),
        "of_training_data": energy_distance(train, test),
        "num_model_samples": num,
    }


def class_accuracy(run, data, options):
    """The share of conditional samples, equally many of each class, that are of the class that they were asked for.

    The class of an image is what a classifier says that was trained on the same data and agrees with a share of
    `classifier_test_accuracy` of the test labels; that of a point of a mixture is the nearest mode.
    """
    if not run.model.conditional or (data.modes is None and len(data.shape) != 3):
        return None
    num, report = options.num_model_samples or 10_000, {}
    labels = np.arange(num) % run.model.num_classes
    samples = _samples(run, num, options, labels)
    if data.modes is not None:
        classes = np.linalg.norm(samples[:, None] - data.modes[None], axis=-1).argmin(axis=1)
    else:
        judge = classifier.trained(data)
        classes, test_classes = (classifier.classes_of(judge, x) for x in (samples, _served(data.test)))
        report["classifier_test_accuracy"] = float(np.mean(test_classes == data.test_labels))
    return {"class_accuracy": float(np.mean(classes == labels)), **report, "num_model_samples": num}


def nearest_neighbour_accuracy(run, data, options):
    """Share of test rows whose nearest training row (Euclidean distance) has their label, in several spaces.

    `z` is what `encode` returns, `features` the encoder's last hidden layer where the model serves it: the space of
    Donahue et al. 2016 (BiGAN, table 1, by their code). `data` is what a representation has to beat.
    """
    if not hasattr(run.model, "encode") or data.train_labels is None:
        return None
    train, test = (_representations(run, data, options, split) for split in ("train", "test"))
    accuracy = {}
    for space in train:
        neighbours = KNeighborsClassifier(n_neighbors=1).fit(train[space], data.train_labels)
        accuracy[space] = float(neighbours.score(test[space], data.test_labels))
    return accuracy | {"num_train": len(data.train), "num_test": len(data.test)}


def latent_map(run, data, options):
    """Draws two latents for each test example, as a picture coloured by label: RUN_DIR/latents.png.

    The number beside it is the share of draws whose nearest neighbour has the same label.
    """
    model = run.model
    if getattr(model, "latent_size", None) != 2 or "encode" not in model.signatures() or data.test_labels is None:
        return None
    encode, specs = model.signatures()["encode"]
    encode, draws = tf.function(encode, reduce_retracing=True), []
    for i, x in enumerate(_batches(run, data, options, "latent map")):
        seeds = i * options.batch_size + tf.range(len(x), dtype=tf.int64)
        given = {model.data_name: model.to_served(x), "seed": seeds}
        encoded = encode(**{name: given[name] for name in specs})
        z = encoded["z"]
        if "z_log_var" in encoded:  # then z is the mean of a Gaussian
            z += tf.exp(0.5 * encoded["z_log_var"]) * noise.normal_rows(seeds, 2)
        draws.append(z)
    z = np.concatenate(draws)
    pictures.scatter(z, run.path / "latents.png", labels=data.test_labels, symbol="z")
    neighbours = NearestNeighbors(n_neighbors=1).fit(z).kneighbors(return_distance=False)[:, 0]
    return {
        "neighbour_agreement": float(np.mean(data.test_labels[neighbours] == data.test_labels)),
        "num_examples": len(z),
    }


METRICS = {
    "ais_log_likelihood": ais_log_likelihood,
    "ais_nll": ais_nll,
    "class_accuracy": class_accuracy,
    "density_against_theory": theory.density_against_theory,
    "density_ratio": points.density_ratio,
    "held_out_objectives": held_out_objectives,
    "histogram_kl": points.histogram_kl,
    "importance_weighted_nll": importance_weighted_nll,
    "latent_map": latent_map,
    "modes_found": modes_found,
    "modes_over_time": points.modes_over_time,
    "nearest_neighbour_accuracy": nearest_neighbour_accuracy,
    "play_against_theory": theory.play_against_theory,
    "sample_energy_distance": sample_energy_distance,
}
ON_REQUEST = {"ais_nll"}  # takes long, so that it is left out unless it is asked for


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


def _samples(run, num, options, labels=None):
    """Samples of consecutive seeds; of a conditional model, those of the `labels`, by default each class in turn."""
    sample = tf.function(run.model.sample, reduce_retracing=True)
    inputs = {"seeds": tf.range(options.seed, options.seed + num, dtype=tf.int64)}
    if run.model.conditional:
        labels = np.arange(num) % run.model.num_classes if labels is None else labels
        inputs["label"] = tf.constant(labels, tf.int64)
    starts = range(0, num, options.batch_size)
    return np.concatenate([sample(**{k: v[i : i + options.batch_size] for k, v in inputs.items()}) for i in starts])


def _representations(run, data, options, split):
    """Dict, space -> float [N, size] of a split: of the data themselves, and of what the model makes of each row."""
    signatures = run.model.signatures()
    functions = [
        (space, tf.function(signatures[name][0], reduce_retracing=True), signatures[name][1])
        for name, space in (("encode", "z"), ("features", "features"))
        if name in signatures
    ]
    served_range = (0.0, 1.0) if len(data.shape) == 3 else None
    binarize = run.settings.dynamic_binarization
    row, parts = {"train": 0, "test": len(data.train)}[split], {"data": []}
    for x in held_out_batches(data, options.batch_size, served_range, binarize=binarize, split=split):
        seeds = tf.range(row, row + len(x), dtype=tf.int64) + options.seed  # for an encoder that draws noise
        row += len(x)
        parts["data"].append(np.reshape(x, [len(x), -1]))
        for space, function, specs in functions:
            outputs = function(**{name: seeds if name == "seed" else x for name in specs})
            parts.setdefault(space, []).append(outputs[space].numpy())
    return {space: np.concatenate(rows) for space, rows in parts.items()}


def _rows_at_once(data):
    """Rows of data that a model may decode at once."""
    return MAX_ELEMENTS // max(LAYER_SIZE, int(np.prod(data.shape)))


def _progress(title, num, unit):
    print(title)
    return keras.utils.Progbar(num, unit_name=unit, verbose=int(sys.stdout.isatty()))


def _held_out(run, data, batch_size):
    """The test set in batches as the run's model takes it."""
    model, binarize = run.model, run.settings.dynamic_binarization
    return held_out_batches(data, batch_size, model.data_range, with_labels=model.labelled, binarize=binarize)


def _batches(run, data, options, title):
    """The test set in batches, with a progress bar."""
    bar = _progress(title, len(data.test), "example")
    for batch in _held_out(run, data, options.batch_size):
        yield batch
        bar.add(len(batch[0] if run.model.labelled else batch))


def evaluate(run_dir, options, arguments):
    """Applies every metric of `options.metrics` that fits the run; prints and returns the results.

    `arguments` are what was parsed into the options: the command is kept with the results.

    Raises:
        UserError: if the directory holds no run or no checkpoint, or its data can not be had.
    """
    run = rundir.load(run_dir)
    settings = run.settings
    data_dir = options.data_dir or settings.data_dir
    data = load(settings.dataset, data_dir, settings.image_side, settings.image_channels)
    file = run.path / "evaluation.json"
    results = {}
    for name in options.metrics or [name for name in METRICS if name not in ON_REQUEST]:
        if (numbers := METRICS[name](run, data, options)) is not None:
            results[name] = numbers
            print(name + ": " + ", ".join(f"{key} {round(value, 4)}" for key, value in numbers.items()))
        elif options.metrics:
            print(f"{name} does not fit this model and these data")
    report = {
        "command": shlex.join(["python", "-m", "trainers.evaluate", *arguments]),
        "step": run.step,
        "seed": options.seed,
        "data_checksum": data.checksum,
        "results": results,
    }
    rundir.write_text(file, json.dumps(report, indent=2) + "\n")
    print(f"kept in {file}")
    return report


def define_options():
    """The flags of an evaluation, not parsed yet."""
    options = absl_flags.FlagValues()
    own = {"flag_values": options}
    absl_flags.DEFINE_string("run_dir", None, "The run to evaluate.", **own)
    absl_flags.DEFINE_string("data_dir", None, "Where the data lies, if not where the run found it.", **own)
    absl_flags.DEFINE_multi_enum(
        "metrics", None, sorted(METRICS), "A metric to apply (repeatable); default all but ais_nll.", **own
    )
    count = {"lower_bound": 1, **own}
    absl_flags.DEFINE_integer("num_importance_samples", 200, "Draws of z for each example.", **count)
    absl_flags.DEFINE_integer("num_ais_examples", 100, "Test examples for ais_nll.", **count)
    absl_flags.DEFINE_integer("num_ais_chains", 16, "Chains for each example of ais_nll.", **count)
    absl_flags.DEFINE_integer("num_ais_temperatures", 1000, "Steps from prior to posterior in ais_nll.", **count)
    absl_flags.DEFINE_integer("num_ais_leapfrog_steps", 10, "Leapfrog steps of each transition of ais_nll.", **count)
    number = f"Samples drawn from the model; default {NUM_MODEL_SAMPLES}, for class_accuracy 10000."
    absl_flags.DEFINE_integer("num_model_samples", None, number, **count)
    absl_flags.DEFINE_integer("num_betas", 10000, "Steps of annealed importance sampling.", **count)
    absl_flags.DEFINE_integer("num_runs", 100, "Runs of annealed importance sampling.", **count)
    absl_flags.DEFINE_integer("batch_size", 100, "Examples at a time.", **count)
    absl_flags.DEFINE_integer("seed", 0, "Seed of the noise of the evaluation.", **own)
    return options


def evaluate_by(metrics, run_dir):
    """`evaluate` by these metrics, other options at their defaults."""
    options, arguments = define_options(), [f"--run_dir={run_dir}", *(f"--metrics={name}" for name in metrics)]
    options(["trainers.evaluate", *arguments])
    return evaluate(run_dir, options, arguments)


def check_metrics(names):
    """The names themselves. Raises `UserError` for one that is none of `METRICS`."""
    if unknown := set(names) - set(METRICS):
        raise cli.UserError(f"--metrics={','.join(sorted(unknown))} is not a measure; there are {', '.join(METRICS)}.")
    return names


def main(argv):
    options = define_options()
    cli.parse(options, argv, __doc__, required="run_dir")
    evaluate(options.run_dir, options, argv[1:])


if __name__ == "__main__":
    cli.run(main)

"""What the latents and the features of an encoder tell of the labels."""

import math

import numpy as np
import tensorflow as tf
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from common import pictures
from common.graph import graph
from trainers.metrics import two_samples
from trainers.metrics.rows import real_rows, require, require_encoder, served_batches, share
from zoo.parts import noise

NUM_TRAIN = 10_000  # of a linear probe
L2 = 0.01  # of a linear probe
ACTIVE = 0.01


def nearest_neighbour_accuracy(run, data, options):
    """Share of test rows whose nearest training row (Euclidean distance) has their label, in several spaces.

    `z` is what `encode` returns (of a Boltzmann machine `h1`, `h2`, ..., the means of its layers), `features` the
    encoder's last hidden layer where the model serves it: the space of Donahue et al. 2016 (BiGAN, table 1, by their
    code). `data` is what a representation has to beat. Errors are those of test rows, with training as it is.
    """
    return _accuracies(run, data, options, KNeighborsClassifier(n_neighbors=1), np.arange(len(data.train)))


def linear_probe(run, data, options):
    """Share of test rows that a linear classifier of 10,000 training rows is right on, in the same spaces.

    Multinomial logistic regression on standardised coordinates: the minimum of the mean cross-entropy + 0.005 |w|^2, w
    being the weights without biases.
    """
    return _accuracies(run, data, options, *linear_classifier(data))


def linear_classifier(data):
    """That of a linear probe, to be fitted, and the training rows that it learns from, always the same."""
    num = min(NUM_TRAIN, len(data.train))
    rows = np.random.default_rng(0).choice(len(data.train), num, replace=False)
    regression = LogisticRegression(C=1.0 / (L2 * num), max_iter=1000)
    return make_pipeline(StandardScaler(), regression), rows


def _accuracies(run, data, options, classifier, rows):
    """The test accuracies of a classifier that learns from these training rows, by space."""
    require_encoder(run.model)
    require(data.train_labels is not None, "the data have no labels")
    require(len(np.unique(data.train_labels[rows])) > 1, "the training rows have one label")
    train, test = (_representations(run, data, options, split) for split in ("train", "test"))
    report = {}
    for space in train:
        answers = classifier.fit(train[space][rows], data.train_labels[rows]).predict(test[space])
        report |= share(space, answers == data.test_labels)
    return report | {"num_train": len(rows), "num_test": len(data.test)}


def active_units(run, data, options):
    """How many units of z have A = Var_x(E_{q(z|x)}[z]) above 0.01, over test rows x (Burda et al. 2016, section 5.2).

    Of an encoder that can only be drawn from, A is the variance of the means of several draws for each row less what
    draws contribute to it, the mean variance between them over their number: without bias, so that it can be negative.
    There are so many that the deviation of A is at most 1 / 400 for a z of unit variance that does not depend on x.
    """
    require_encoder(run.model)
    first = _representations(run, data, options, "test")
    require("z" in first, "the encoder has no z")
    require(len(data.test) > 1, "1 row does not vary")
    if "seed" not in run.model.signatures()["encode"][1]:
        activity, draws = np.var(first["z"], axis=0, ddof=1), {}
    else:
        num = 1 + math.ceil(400 * math.sqrt(2.0 / len(data.test)))  # sqrt(2 / (n num (num - 1))), rounded up
        rest = [_representations(run, data, options, "test", draw)["z"] for draw in range(1, num)]
        z = np.stack([first["z"], *rest])
        activity = np.var(z.mean(0), axis=0, ddof=1) - np.var(z, axis=0, ddof=1).mean(0) / num
        draws = {"num_draws": num}
    active = int(np.sum(activity > ACTIVE))
    return {"active_units": active, "num_units": len(activity), "threshold": ACTIVE, "num_test": len(data.test)} | draws


def latent_map(run, data, options):
    """Draws two latents for each test example, as a picture coloured by label: RUN_DIR/latents.png.

    The number beside it is the share of draws whose nearest neighbour has the same label.
    """
    require(getattr(run.model, "latent_size", None) == 2, "latents are not of 2 numbers")
    require(data.test_labels is not None, "the data have no labels")
    z = posterior_draws(run, data, options)
    pictures.scatter(z, run.path / "latents.png", labels=data.test_labels, symbol="z")
    nearest = NearestNeighbors(n_neighbors=1).fit(z).kneighbors(return_distance=False)[:, 0]
    agreement, error = mean_over_pairs(data.test_labels[nearest] == data.test_labels, nearest)
    return {"neighbour_agreement": agreement, "neighbour_agreement_standard_error": error, "num_examples": len(z)}


def aggregate_posterior(run, data, options):
    """Whether latents of the data are distributed as the prior: a classifier that is to tell q(z), a draw for each test
    row, from as many draws of p(z). See `two_samples.two_sample_test`: an accuracy of 1/2 is that of chance.

    A decoder has learnt from q(z), so that samples, which are of p(z), are of what it knows where both are equal.
    """
    require("latent" in run.model.signatures(), "the model has no latents to draw")
    z = posterior_draws(run, data, options)
    seeds = tf.range(options.seed, options.seed + len(z), dtype=tf.int64)
    found = two_samples.two_sample_test(z.astype(np.float64), run.model.latent(seeds).numpy().astype(np.float64))
    (accuracy, error), (p_value, _) = found["two_sample_accuracy"], found["two_sample_p_value"]
    report = {"two_sample_accuracy": accuracy, "two_sample_accuracy_standard_error": error}
    return report | {"two_sample_p_value": p_value, "num_draws": len(z)}


def posterior_draws(run, data, options):
    """A draw from q(z|x) for each test row x, [n, size], by the noise of a seed of its own."""
    model = run.model
    numbers = getattr(model, "latent_prior", True) is not None  # of zeros and ones `encode` gives the probabilities
    require(numbers, "latents are not real numbers")
    require_encoder(model)
    encode, specs = model.signatures()["encode"]
    encode, draws = graph(encode), []
    for i, x in enumerate(served_batches(run, data, options)):
        seeds = i * options.batch_size + tf.range(len(x), dtype=tf.int64)
        given = {model.data_name: x, "seed": seeds}
        encoded = encode(**{name: given[name] for name in specs})
        require("z" in encoded, "the encoder has no z")
        z = encoded["z"]
        if "z_log_var" in encoded:  # then z is the mean of a Gaussian
            epsilon = noise.normal_rows(seeds, tuple(z.shape[1:]), noise.stream(noise.POSTERIOR))
            z += tf.exp(0.5 * encoded["z_log_var"]) * epsilon
        draws.append(z)
    return np.concatenate(draws)


def mean_over_pairs(values, other):
    """The mean of values, [n] of pairs (i, other[i]), and its standard error where pairs without a common row, and no
    others, are independent."""
    row, centered = np.arange(len(values)), values - np.mean(values)
    members = sparse.csr_matrix((np.ones(2 * len(row)), (np.tile(row, 2), np.concatenate([row, other]))))
    dependent = (members @ members.T).astype(bool)
    variance = centered @ (dependent @ centered) / len(row) ** 2
    return float(np.mean(values)), float(np.sqrt(max(variance, 0.0)))


def _representations(run, data, options, split, draw=0):
    """Dict, space -> float [n, size] of a split: of the data themselves, and of what the model makes of each row.

    An encoder that draws noise draws other noise for each `draw`.
    """
    kept = ("representations", split, options.seed, options.batch_size)
    if draw == 0 and kept in run.memory:  # several metrics measure the same
        return run.memory[kept]
    rows, signatures, parts = real_rows(run, data, split), run.model.signatures(), {}
    first = {"train": 0, "test": len(data.train)}[split] + draw * (len(data.train) + len(data.test)) + options.seed
    for name in (name for name in ("encode", "features") if name in signatures):
        function, specs = signatures[name]
        function = run.memory.setdefault(("graph", name), graph(function))
        for i in range(0, len(rows), options.batch_size):
            x = tf.constant(rows[i : i + options.batch_size])
            seeds = tf.range(first + i, first + i + len(x), dtype=tf.int64)
            for space, value in function(**{key: seeds if key == "seed" else x for key in specs}).items():
                if space != "z_log_var":
                    parts.setdefault(space, []).append(value.numpy())
    found = {"data": np.reshape(rows, [len(rows), -1])} | {space: np.concatenate(of) for space, of in parts.items()}
    if draw == 0:
        run.memory[kept] = found
    return found

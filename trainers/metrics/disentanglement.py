"""What each latent of an encoder tells of the data, and whether they tell it apart from one another."""

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from common import pictures
from common.cli import progress
from common.graph import graph
from trainers.metrics.rows import real_rows, require, require_encoder, served_batches
from zoo.parts import aggregate, noise
from zoo.parts.distributions import PRIORS
from zoo.parts.posteriors import Gaussian

NUM_DRAWS = 10_000  # of latents, as Chen et al. 2018 take
MAX_TERMS = 2_000_000_000  # densities of one number by one row: fewer draws where these would be more
CHUNK = 2**21  # of them at a time
QUANTILES = np.linspace(0.02, 0.98, 9)  # of a latent's prior, the values of a traversal
NUM_OF_PRIOR, NUM_BASES, NUM_SHOWN = 10_000, 8, 10


def kl_decomposition(run, data, options):
    """The parts of the mean KL of posteriors of training rows from the prior, in nats, and that mean itself, `kl`.

    q(z) is the mean over the posteriors of all training rows, exactly; each part is a mean over draws z ~ q(z|x) of
    random rows, and its error that of the mean. They add up to an estimate of `kl`, which is in closed form.
    `zoo/parts/aggregate.py` says what they are.
    """
    require(getattr(run.model, "latent_prior", None) == PRIORS["normal"], "the prior of latents is not N(0, I)")
    drawn = _drawn(run, data, options)
    prior = run.model.latent_prior.density(drawn.z.shape[1])
    log_pz = prior.log_prob(drawn.z).numpy()
    parts = aggregate.parts_of(drawn.log_qz, drawn.joint, drawn.marginals.sum(axis=1), log_pz)
    report = {"kl": float(np.mean(drawn.q.kl(run.model.latent_prior)))}
    for name, values in parts.items():
        report |= _mean(name, values)
    return report | drawn.counts


def mutual_information_gap(run, data, options):
    """How much more one latent tells of a factor than any other does, as a share of the factor's entropy, in [0, 1].

        MIG = 1/K sum_k (I(z_a; v_k) - I(z_b; v_k)) / H(v_k),   z_a and z_b: of all z_j those of the largest I(z_j; v_k)

    Chen et al. 2018 (arXiv:1802.04942, equation 6): I(z_j; v) = H(z_j) - H(z_j|v), not below 0, by draws z ~ q(z|x),
    against the mean of all posteriors and of those with the same v. As there, `mig` leaves out
    the labels (shapes), which `mig_with_labels` counts as a factor. Errors are those of draws, the model being given.
    """
    require(data.factors is not None, "the factors of the data are not known")
    drawn = _drawn(run, data, options)
    require(drawn.z.shape[1] > 1, "there is one latent alone")
    labels = {} if data.train_labels is None else {"labels": data.train_labels}
    gaps = {name: _gap(drawn, values) for name, values in (data.factors | labels).items()}
    report = _mean("mig", np.mean([gaps[name] for name in data.factors], axis=0))
    if labels:
        report |= _mean("mig_with_labels", np.mean([*gaps.values()], axis=0))
    for name, gap in gaps.items():
        report |= _mean(f"gap_of_{name}", gap)
    return report | drawn.counts


def _gap(drawn, values):
    """What each draw contributes to the gap of a factor with these values of all rows, [draws]."""
    counts = np.unique(values, return_counts=True)[1]
    entropy = -np.sum(counts / len(values) * np.log(counts / len(values)))
    of_value = np.empty_like(drawn.marginals)
    for value in np.unique(values[drawn.rows]):
        mine = values[drawn.rows] == value
        of_value[mine] = _log_densities(drawn.z[mine], drawn.mean[values == value], drawn.std[values == value])[1]
    ratio = of_value - drawn.marginals  # its mean over draws is I(z_j; v)
    information = ratio.mean(axis=0)
    second, first = np.argsort(information)[-2:]
    gap = [ratio[:, j] * (information[j] > 0.0) for j in (first, second)]
    return (gap[0] - gap[1]) / entropy


def _mean(name, values):
    """The mean of independent values under a name, and its standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return {name: float(np.mean(values)), f"{name}_standard_error": float(error)}


class Drawn:
    """Draws z of the posteriors of random training rows, each row at most once, and log-densities at them.

    q, mean, std: of all training rows. rows: int [draws], those that are drawn from. z, marginals: [draws, size], the
    latter log q(z_j). log_qz, joint: [draws], log q(z|x) and log q(z). counts: how many there are, for a report.
    """

    def __init__(self, mean, log_var, seed):
        self.mean, self.std = mean, np.exp(0.5 * log_var)
        self.q = Gaussian(tfd.Independent(tfd.Normal(mean, self.std), 1))
        num = min(NUM_DRAWS, len(mean), max(2, MAX_TERMS // mean.size))
        self.rows = np.random.default_rng(seed).choice(len(mean), num, replace=False)
        epsilon = noise.normal_rows(seed + self.rows, mean.shape[1], noise.stream(noise.POSTERIOR)).numpy()
        self.z = mean[self.rows] + self.std[self.rows] * epsilon
        of_rows = tfd.Independent(tfd.Normal(mean[self.rows], self.std[self.rows]), 1)
        self.log_qz = of_rows.log_prob(self.z).numpy()
        self.joint, self.marginals = _log_densities(self.z, mean, self.std, "aggregate posterior")
        self.counts = {"num_draws": num, "num_train": len(mean)}


def _drawn(run, data, options):
    """`Drawn` of the model's posteriors, which several metrics share."""
    require_encoder(run.model)
    encode, (name, *others) = run.model.signatures()["encode"]
    require(not others, "the encoder is no Gaussian")  # but takes a seed
    key = ("drawn", options.seed, options.batch_size)
    if key not in run.memory:
        encode, parts = graph(encode), []
        for x in served_batches(run, data, options, "train"):
            parts.append(encode(**{name: x}))
            require("z_log_var" in parts[-1], "the encoder is no Gaussian")
        run.memory[key] = Drawn(*(np.concatenate([p[of] for p in parts]) for of in ("z", "z_log_var")), options.seed)
    return run.memory[key]


@graph
def _chunk(z, mean, std):
    log_weight = -tf.math.log(tf.cast(tf.shape(mean)[0], tf.float32))
    return aggregate.log_densities(Gaussian(tfd.Independent(tfd.Normal(mean, std), 1)), z, log_weight)


def _log_densities(z, mean, std, title=None):
    """log q(z), [draws], and log q(z_j), [draws, size], of draws z under the mean of Gaussians [n, size]."""
    size, mean, std = max(1, CHUNK // mean.size), tf.constant(mean), tf.constant(std)
    bar, parts = title and progress(title, len(z), "draw"), []
    for i in range(0, len(z), size):
        parts.append([part.numpy() for part in _chunk(tf.constant(z[i : i + size]), mean, std)])
        if bar:
            bar.add(len(parts[-1][0]))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def latent_traversals(run, data, options):
    """Draws what becomes of a picture where one latent takes other values, as RUN_DIR/traversals.png.

    A line for each latent, with those first that change most; from left to right the latent goes through quantiles of
    its prior, from 2 % to 98 %, all others being those of a test row, or where `encode` takes more than it of a sample.
    `change_of_latent_j`, j from 0 on, is the root mean square of pixels less their mean along such a line, over 8 rows.
    """
    model, signatures = run.model, run.model.signatures()
    decode, specs = signatures.get("decode", (None, {}))
    require(set(specs) == {"z"}, "the model decodes no latents alone")
    require(model.data_name == "images", "the data are no images")
    of_prior = model.latent(options.seed + tf.range(NUM_OF_PRIOR, dtype=tf.int64)).numpy()
    encode, specs = signatures.get("encode", (None, {}))
    if set(specs) == {"images"}:
        rows = np.random.default_rng(options.seed).permutation(len(data.test))[:NUM_BASES]
        bases = encode(images=tf.constant(real_rows(run, data, "test", rows)))["z"].numpy()
    else:
        bases = of_prior[:NUM_BASES]
    size, decode = bases.shape[1], graph(decode)
    values = np.quantile(of_prior, QUANTILES, axis=0)
    change, lines = [], []
    for j in range(size):
        z = np.repeat(bases[:, None], len(values), axis=1)
        z[:, :, j] = values[:, j]
        images = decode(z=tf.constant(z.reshape(-1, size)))["images"].numpy().reshape(*z.shape[:2], *data.shape)
        change.append(float(np.sqrt(images.var(axis=1).mean())))
        lines.append(images[0])
    order = np.argsort(change)[::-1][:NUM_SHOWN]
    pictures.lines([lines[j] for j in order], run.path / "traversals.png")
    return {f"change_of_latent_{j}": change[j] for j in order} | {"num_latents": size, "num_rows": len(bases)}

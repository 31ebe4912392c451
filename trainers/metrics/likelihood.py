"""How probable a model finds held-out data: its own objectives, and estimates of the log-likelihood."""

import functools
import itertools

import numpy as np
import tensorflow as tf

from common.cli import progress
from common.graph import graph
from trainers import rundir, tables
from trainers.metrics.rows import DoesNotApply, batches, real_rows, require, share
from zoo.parts import estimators, noise
from zoo.parts.levels import at_levels

MAX_ELEMENTS = 2**24  # numbers in one layer of a decoder, 64 MiB: what bounds the memory of importance sampling
JACKKNIFE_ORDER = 2  # the highest that is evaluated
NUM_CLASSIFIED = 1000  # rows whose class is inferred, by a likelihood for each
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

    dequantized_nll: of 8-bit pixels' density after `levels.dequantized`; with log 256 more for each number of a row it
        is an upper bound in expectation on that of their probability.
    rounded_nll: of the probability of images that are the rows rounded to the model's levels. More levels than these
        were in the data, so that it can not be compared with models of the rows themselves; refused it is not, for
        models of as many levels can be compared by it.
    cross_entropy: no log-probability. p^x (1 - p)^(1 - x) of a grey pixel x under a Bernoulli likelihood has neither a
        sum nor an integral of 1 over x: over [0, 1] it is at most 1 / 2.

    Of a model that is told the classes of rows it is -log p(x|y) of them, and the names begin with `conditional_`.
    """
    return "conditional_" * run.model.conditional + _of_rows(run, data)


def _of_rows(run, data):
    model, images = run.model, data.test.dtype == np.uint8
    if model.support == "binary":
        return "cross_entropy" if scores_grey(run, data) else "nll"
    if model.support == "levels":
        known = run.settings.dynamic_binarization or at_levels(data.test, model.num_levels)
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
    kind = name.removeprefix("conditional_")
    if kind == "dequantized_nll" or (kind == "nll" and model.support == "levels"):
        bits = found[name] / np.log(2.0) / int(np.prod(data.shape))
        found["bits_per_dimension"] = bits + (8.0 if is_density(model) else 0.0)
    return found


def metric_of_rows(as_scored=lambda run, options: run):
    """Makes a metric of a function (run, data, options) that scores test rows: -log p(x) in nats [n], a dict of more.

    With `--against`, another run, that one scores the same rows too. `gain` is then how much more log-likelihood they
    have by this one, in nats, or how much higher what the metric gives in its place, a bound or minus a cross-entropy.
    Its error, that of a mean of differences, is far below those of the two means: what makes a row improbable is for
    the most part common to both.

    Args:
        as_scored: function (run, options) that gives the run with the model that scores in place of its own.
    """

    def of(nll_of_rows):
        @functools.wraps(nll_of_rows)
        def metric(run, data, options):
            run, theirs = as_scored(run, options), None
            if options.against:  # first, so that what can not be compared is told before anything is scored
                try:
                    other = as_scored(rundir.load(options.against), options)
                    require_comparable(run, other, data)
                    theirs, _ = nll_of_rows(other, data, options)
                except DoesNotApply as reason:
                    raise DoesNotApply(f"of --against={options.against}, {reason}") from reason
            nll, more = nll_of_rows(run, data, options)
            found = summary(nll_name(run, data), nll, run.model, data) | more
            if theirs is not None:
                against = {"against": f"{tables.name_of(options.against)}, step {other.step}"}
                found |= against | summary("gain", theirs - nll, run.model, data)
            return found | {"num_examples": len(nll)}

        metric.compares_runs = True
        return metric

    return of


def require_comparable(run, other, data):
    """Raises `DoesNotApply` for runs that do not score the same test rows, or not by the same kind of likelihood."""

    def rows(run):
        return run.facts["data_checksum"], run.facts["data_shape"], run.settings.splits

    def kind(run):
        levels = run.model.num_levels if run.model.support == "levels" else None
        return nll_name(run, data), is_density(run.model), levels

    require(rows(run) == rows(other), "the data are others")
    binarized = [each.settings.dynamic_binarization for each in (run, other)]
    require(binarized[0] == binarized[1], "pixels are binarised in one of the runs only")
    require(kind(run) == kind(other), f"the likelihood is of another kind, {kind(other)[0]}")


@metric_of_rows()
def exact_nll(run, data, options):
    """Negative log-likelihood in nats, of a model that can compute it: no bound and no estimate.

    Of 8-bit pixels under a density it is the mean over one dequantisation of each row.
    """
    model = run.model
    require(hasattr(model, "exact_log_prob"), "the model's log p(x) is no closed form")
    require_density(run, data)
    score = graph(lambda rows: model.exact_log_prob(*model.of_data(rows)))
    rows = batches(run, data, options, "exact NLL", dequantize=is_density(model))
    return -np.concatenate([score(x) for x in rows]), {}


def require_proposal(model):
    require(getattr(model, "has_proposal", False), "the model has no density to propose latents from")


def log_weights_by_batch(run, data, options, title, num_samples):
    """Log-weights [num_samples, n] of each batch of test rows."""
    model = run.model

    @graph
    def log_weights(data, num, chunk):  # every chunk of draws has noise of its own
        x, *y = model.of_data(data)
        with model.drawing(noise.EVALUATION, chunk, options.seed):
            return model.log_weights(x, num, *y)

    chunks = itertools.count()
    for x in batches(run, data, options, title, dequantize=is_density(model)):
        size = _rows_at_once(data, model) // len(x[0] if model.labelled else x) or 1
        sizes = [min(size, num_samples - first) for first in range(0, num_samples, size)]
        yield tf.concat([log_weights(x, tf.constant(num), tf.constant(next(chunks))) for num in sizes], axis=0)


@metric_of_rows()
def importance_weighted_nll(run, data, options):
    """Negative log-likelihood -log 1/S sum_s p(x, z_s) / q(z_s | x), z_s ~ q, in nats: an upper bound in expectation.

    Burda et al. 2016, equation 8; Rezende et al. 2014 evaluate in the same way. Its name tells what p(x) is of, see
    `nll_name`; so does that of the bound -E log p(x, z) / q(z | x), `negative_elbo`.
    """
    model, bounds, elbos = run.model, [], []
    require_proposal(model)
    num_samples = options.num_importance_samples
    for log_w in log_weights_by_batch(run, data, options, "importance-weighted NLL", num_samples):
        bounds.append(estimators.iwae(log_w))
        elbos.append(estimators.elbo(log_w))
    elbo_name = nll_name(run, data).replace("cross_entropy", "cross_entropy_nll").replace("nll", "negative_elbo")
    elbo = {elbo_name: -float(np.concatenate(elbos).mean())} if model.proposes_by_q else {}
    return -np.concatenate(bounds), elbo | {"num_importance_samples": num_samples}


def classification_accuracy(run, data, options):
    """Share of test rows whose class is the most probable by Bayes' rule, p(y|x) from p(x|y), of a model that has it.

    Of the first 1,000 rows, because each takes a likelihood for each class.
    """
    model = run.model
    require("classify" in model.signatures(), "the model does not infer classes")
    require(data.test_labels is not None, "the data have no labels")
    num = min(NUM_CLASSIFIED, len(data.test))
    seeds, classify = np.arange(options.seed, options.seed + num), graph(model.classify)
    rows, bar, found = real_rows(run, data, "test", np.s_[:num]), progress("classification", num, "example"), []
    for i in range(0, num, options.batch_size):
        of = np.s_[i : i + options.batch_size]
        found.append(classify(tf.constant(rows[of]), tf.constant(seeds[of]))["probability"].numpy().argmax(axis=1))
        bar.add(len(found[-1]))
    return share("classification_accuracy", np.concatenate(found) == data.test_labels[:num]) | {"num_examples": num}


def jackknife_nll(run, data, options):
    """Negative log-likelihood by the jackknife of orders 0, 1 and 2 over the same K draws, in nats (Nowozin 2018).

    Order 0 is the importance-weighted bound with K draws. The others have a bias of a higher order in 1/K, and bound
    nothing. `gain_of_order_1` is how much more likely the rows are by order 1 than by order 0, and so on: its error is
    that of a mean of differences. Names tell what p(x) is of, see `nll_name`.
    """
    model = run.model
    require_proposal(model)
    num_samples = options.num_jackknife_samples
    log_w = log_weights_by_batch(run, data, options, "jackknife", num_samples)
    orders = range(JACKKNIFE_ORDER + 1)
    nll = np.concatenate([[-estimators.jvi(weights, order) for order in orders] for weights in log_w], axis=1)
    name, found = nll_name(run, data), {}
    for order in orders:
        found |= summary(f"{name}_of_order_{order}", nll[order], model, data)
    for order in orders[1:]:
        found |= summary(f"gain_of_order_{order}", nll[order - 1] - nll[order], model, data)
    return found | {"num_jackknife_samples": num_samples, "num_examples": nll.shape[1]}


def _rows_at_once(data, model):
    """Rows of data that a model may decode at once."""
    numbers = model.num_levels if model.support == "levels" else 1  # that a pixel may need to be scored
    return MAX_ELEMENTS // max(LAYER_SIZE, numbers * int(np.prod(data.shape)))

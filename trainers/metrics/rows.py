"""Rows to measure: samples of a run's model, and held-out data as the model takes or serves them."""

import numpy as np
import tensorflow as tf

from common.cli import progress
from common.graph import graph
from trainers.data import held_out_batches


class DoesNotApply(Exception):
    """A metric is not for this model or these data: why, as a part of a sentence after "NAME does not apply: "."""


def require(condition, otherwise):
    """Raises `DoesNotApply`, saying `otherwise`, unless the condition holds."""
    if not condition:
        raise DoesNotApply(otherwise)


def require_samples(run):
    require("sample" in run.model.signatures(), "the model draws no samples")


def require_encoder(model):
    """Raises `DoesNotApply` for a model that does not tell of rows by themselves what their latents are."""
    require("encode" in model.signatures(), "the model does not encode")
    told = "label" in model.signatures()["encode"][1]
    require(not told, "the encoder is told the class of a row, and latents are not of the row alone")


def served(x):
    """Data at rest as the model serves it."""
    return x / np.float32(255.0) if x.dtype == np.uint8 else x


def samples_of(run, num, options, labels=None):
    """Samples of consecutive seeds; of a conditional model, those of the `labels`, by default each class in turn."""
    require_samples(run)
    inputs = {"seeds": np.arange(options.seed, options.seed + num)}
    if run.model.conditional:
        inputs["label"] = np.arange(num) % run.model.num_classes if labels is None else np.asarray(labels, np.int64)
    key = ("samples", options.batch_size, *(values.tobytes() for values in inputs.values()))
    if key not in run.memory:  # many metrics measure the same samples
        sample, parts = graph(run.model.sample), []
        bar = progress("samples", num, "sample")
        for i in range(0, num, options.batch_size):
            parts.append(sample(**{k: tf.constant(v[i : i + options.batch_size]) for k, v in inputs.items()}).numpy())
            bar.add(len(parts[-1]))
        run.memory[key] = np.concatenate(parts)
    return run.memory[key]


def real_rows(run, data, split, of=np.s_[:]):
    """Rows `of` a split, by default all, as the model serves them, float32; binarised where the run's are."""
    if not run.settings.dynamic_binarization:
        return served(getattr(data, split)[of])  # no more than these, as a split may be too large for memory
    if ("rows", split) not in run.memory:
        rows = held_out_batches(data, 1000, binarize=True, split=split)
        run.memory["rows", split] = np.concatenate([x.numpy() for x in rows])
    return run.memory["rows", split][of]


def share(name, values):
    """The share of rows that are so, bool [n], under a name, and its standard error where rows are independent."""
    return {name: float(np.mean(values)), f"{name}_standard_error": float(np.std(values) / np.sqrt(len(values)))}


def kept_samples(run):
    """The samples that a run drew on its way: dict, step -> points [n, size]."""
    files = sorted((run.path / "samples").glob("step_*.npy"))
    samples = {int(file.stem.removeprefix("step_")): np.load(file) for file in files}
    return {step: points for step, points in samples.items() if step <= run.step}


def served_batches(run, data, options, split="test"):
    """A split in batches as the model's signatures take it."""
    return held_out_batches(data, options.batch_size, binarize=run.settings.dynamic_binarization, split=split)


def held_out(run, data, batch_size, **options):
    """The test set in batches as the run's model takes it; `options` are more, or others, of `held_out_batches`."""
    usual = {"with_labels": run.model.labelled, "binarize": run.settings.dynamic_binarization}
    return held_out_batches(data, batch_size, **usual | options)


def batches(run, data, options, title, **more):
    """The same, with a progress bar."""
    bar = progress(title, len(data.test), "example")
    for batch in held_out(run, data, options.batch_size, **more):
        yield batch
        bar.add(len(batch[0] if run.model.labelled else batch))

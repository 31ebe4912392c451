"""From a model of the zoo to a SavedModel that TensorFlow Serving can load, batch and serve."""

import contextlib
import datetime
import functools
import hashlib
import inspect
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from common.cli import UserError, writing
from common.files import to_json, write_atomically
from common.graph import graph, once
from export import card, gate, warmup
from export.publish import publish
from zoo import weights

PIXEL_TOLERANCE = 1e-3  # how far outside [0, 1] a client's rounding may put a pixel
SAMPLE_SEEDS = range(4)  # their samples are described in the metadata, so that a client can recognise them
RANDOM_NUMBERS = {
    "generator": "Philox4x32-10",
    "rows": "row i of the noise is tf.random.stateless_normal([n], seed=[seed[i], stream], alg='philox')",
    "uniform": "a uniform latent is 2 u - 1 with u the tf.random.stateless_uniform of the same arguments",
    "binary": "a binary unit is 1 where the tf.random.stateless_uniform of these is below its probability",
    "streams": "0 for the latent, or 0, 1, ... for its layers from the top; draw number index of use 1, 2, ... of a "
    "seed has stream use * 2**32 + index; the likelihood's draw is use 2",
    "agreement": "uniforms exactly, normals to 2e-6; outputs agree to about 1e-6 in batches of other sizes, but for a "
    "pixel drawn among levels, such as black and white, whose distribution function there is as near to its uniform",
}


DESCRIPTIONS = {  # of signatures that are no method of the model; the others have its docstring's first line
    "reconstruct": "`decode` of the `z` that `encode` gives.",
    "sample_png": "`sample` as PNG files.",
    "sample_mean_png": "`sample_mean` as PNG files.",
}

SHARED = ("latent", "decode", "encode", "sample", "sample_mean")  # methods that several signatures call


class Served(tf.Module):
    """Holds the signatures and the variables that they read, and nothing else.

    The variables are TensorFlow's own: a SavedModel that holds Keras's, or a Keras model, does not load outside Python,
    because Keras replaces its variables by copies while they are saved and only the copies are restored.
    """

    def __init__(self, functions, weights):
        super().__init__()
        tree = {}  # nested by the parts of their names, which thus become those of the checkpoint
        for name, weight in weights.items():
            *parts, last = name.split("/")
            functools.reduce(lambda level, part: level.setdefault(part, {}), parts, tree)[last] = weight
        self.weights = tree
        for name, function in functions.items():
            setattr(self, name, function)


def export_model(
    model, export_dir, *, metadata, signatures=None, keep_versions=None, onnx=False, warmup_batches=warmup.BATCHES
):
    """Publishes a model as the next version in `export_dir`, with the model card beside it.

    Args:
        model: a `Game`, or whatever has `signatures()`, `get_config()` and, where labels are asked for, `num_classes`.
        export_dir: directory of the versions, made where missing.
        metadata: dict of what the caller knows of the model, JSON-able. The card uses `model`, `dataset`,
            `data_checksum`, `licence`, `citation`, `num_classes`, `class_names`, `command`, `step`, `settings` (list of
            flags), `estimates` (dict of numbers) and `evaluation` (dict with a `command` and its `results`, metric ->
            dict), where they are there; `versions` is completed.
        signatures: names of those to export besides `sample`, which is `serving_default`; None for all.
        keep_versions: int >= 1, how many versions stay in `export_dir`, the newest; None for all.
        onnx: bool, whether `decode` and `sample` come as ONNX files, too (`export.onnx_files`).
        warmup_batches: ints >= 1, rows of the requests that a server replays while it loads.

    Returns:
        Path of the version, `export_dir/<integer>`.

    Raises:
        UserError: for the name of a signature that the model does not have, or if the SavedModel could not be served
            (`export.gate.GateError`) or can not be written. Nothing is published then.
    """
    traced = trace(model, signatures)
    variables = named_weights(model, traced.values())
    metadata, onnx_files = describe(model, traced, {**metadata, "warmup_batches": list(warmup_batches)}), {}
    if onnx:
        from export.onnx_files import convert

        onnx_files, metadata["onnx"] = convert(traced, getattr(model, "num_classes", None))
    text = card.render(metadata)

    def write(folder):
        # Training is over: gradients that layers define for themselves need no place in the files.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        served = {"serving_default": next(iter(traced.values())), **traced}
        tf.saved_model.save(Served(traced, variables), str(folder), signatures=served, options=options)
        gate.check(folder)
        extra = folder / "assets.extra"
        extra.mkdir()
        (extra / "metadata.json").write_text(to_json(metadata, indent=2) + "\n")
        (extra / "README.md").write_text(text)
        if onnx:
            (extra / "onnx").mkdir()
        for name, contents in onnx_files.items():
            (extra / "onnx" / f"{name}.onnx").write_bytes(contents)
        specs = {name: function.structured_input_signature[1] for name, function in served.items()}
        num_classes = getattr(model, "num_classes", None)
        warmup.write(folder / warmup.FILE, metadata["model"], specs, num_classes, warmup_batches)

    def conclude(newest):
        text = newest / "assets.extra" / "README.md"
        if text.exists():
            write_atomically(Path(export_dir) / "README.md", lambda path: path.write_bytes(text.read_bytes()))

    with writing(export_dir):
        return publish(export_dir, write, keep_versions, conclude)


def named_weights(model, signatures):
    """The variables that concrete functions read: dict, name -> variable, in the order of their names.

    A name is the model's of a network and the path within it, such as "generator/dense/kernel": `zoo.weights`.
    """
    read = {id(weight): weight for function in signatures for weight in function.variables}
    paths = {key: weight.name.partition(":")[0] for key, weight in read.items()}  # of what is not Keras's
    if isinstance(model, keras.Layer):
        paths = {key: path for key, path in weights.paths(model).items() if key in read}
    return {name: read[key] for name, key in sorted(weights.numbered(paths).items())}


def trace(model, names=None):
    """The model's signatures, of checked rows, each traced once: dict, name -> concrete function."""
    available = model.signatures()
    unknown = set(names or ()) - set(available)
    if unknown:
        raise UserError(f"the model has no signature {', '.join(sorted(unknown))}; it has {', '.join(available)}.")
    num_classes = getattr(model, "num_classes", None)
    with sharing(model):
        return {
            name: graph(by_row(function, specs, num_classes)).get_concrete_function(**specs)
            for name, (function, specs) in model.signatures().items()
            if names is None or name in (next(iter(available)), *names)
        }


@contextlib.contextmanager
def sharing(model):
    """Within this block, what several signatures of the model call is traced once for all of them."""
    shared = {name: once(getattr(model, name)) for name in SHARED if getattr(type(model), name, None)}
    vars(model).update(shared)
    try:
        yield
    finally:
        for name in shared:
            del vars(model)[name]


def by_row(function, specs, num_classes=None):
    """Makes a function of rows total: a bad row comes back blank, and no row spoils another.

    A row is bad if a float in it, or in the answer to it, is not finite, if a pixel of images is outside [0, 1] by
    more than `PIXEL_TOLERANCE`, or if its `label` is not in [0, num_classes). The function sees zeros in its place, and
    the answer is zeros, or empty strings. Where a request can be bad (`seed` can not), the additional output `valid`,
    bool [batch], says which rows are good. An assert would fail the requests of all clients that a server has merged.

    Args:
        function: function of named tensors that returns a dict of tensors, dimension 0 being the batch everywhere.
        specs: dict, input name -> `tf.TensorSpec`.
        num_classes: int, needed if there is a `label`.
    """

    can_be_bad = set(specs) != {"seed"}

    def is_good(name, x):
        if name == "label":
            return (x >= 0) & (x < num_classes)
        if name.endswith("images"):
            return _all_of_row((x >= -PIXEL_TOLERANCE) & (x <= 1.0 + PIXEL_TOLERANCE))
        return _is_finite(x)

    def checked(**inputs):
        inputs = {name: tf.ensure_shape(x, specs[name].shape) for name, x in inputs.items()}
        # Stacked, not chained by `&`, which would broadcast inputs of different batches.
        valid = tf.reduce_all(tf.stack([is_good(name, x) for name, x in inputs.items()]), axis=0)
        num_rows = tf.shape(valid)[0]

        def replaced():
            """Of no rows one: TensorFlow's convolutions give none the shape of their inputs."""
            added = [0, tf.cast(num_rows == 0, tf.int32)]
            blank = _blank_unless(valid, inputs)
            return {name: tf.pad(x, [added, *[[0, 0]] * (x.shape.rank - 1)]) for name, x in blank.items()}

        inputs = tf.cond(tf.reduce_all(valid) & (num_rows > 0), lambda: inputs, replaced)
        inputs |= {name: tf.clip_by_value(x, 0.0, 1.0) for name, x in inputs.items() if name.endswith("images")}
        outputs = {name: x[:num_rows] for name, x in function(**inputs).items()}

        def blanked():
            good = tf.reduce_all(tf.stack([valid, *map(_is_finite, outputs.values())]), axis=0)
            return _blank_unless(good, outputs), good

        # The usual case is to be cheap: where a sum is finite, all its terms are, and no row needs to be looked at.
        sums = [tf.reduce_sum(x) for x in outputs.values() if x.dtype.is_floating]
        if can_be_bad or sums:
            all_good = tf.reduce_all(tf.stack([tf.reduce_all(valid), *map(tf.math.is_finite, sums)]))
            outputs, valid = tf.cond(all_good, lambda: (outputs, valid), blanked)
        return {**outputs, "valid": valid} if can_be_bad else outputs

    return checked


def _is_finite(x):
    return _all_of_row(tf.math.is_finite(x)) if x.dtype.is_floating else tf.fill(tf.shape(x)[:1], True)


def _all_of_row(condition):
    return tf.reduce_all(condition, axis=list(range(1, condition.shape.rank)))


def _blank_unless(valid, rows):
    """Dict of tensors like `rows`, with zeros or empty strings in the rows that are not valid."""
    return {
        name: tf.where(tf.reshape(valid, [-1] + [1] * (x.shape.rank - 1)), x, tf.zeros_like(x))
        for name, x in rows.items()
    }


def describe(model, traced, metadata):
    """The contents of `metadata.json`: what the caller knows, and what model and signatures say of themselves."""
    table = {
        name: {
            "description": _first_line(getattr(model, name, None)) or DESCRIPTIONS.get(name, ""),
            "inputs": {key: _tensor(spec) for key, spec in concrete.structured_input_signature[1].items()},
            "outputs": {key: _tensor(tensor) for key, tensor in concrete.structured_outputs.items()},
        }
        for name, concrete in traced.items()
    }
    ranges = {"images": "0 to 1", "probability": "0 to 1", "alpha": "0 gives z_from, 1 gives z_to"}
    if getattr(model, "num_classes", None):
        ranges["label"] = f"0 to {model.num_classes - 1}"
    names = {name for signature in table.values() for side in ("inputs", "outputs") for name in signature[side]}
    ranges |= {name: ranges["images"] for name in names if name.endswith("_images")}
    summary, _, reference = (inspect.getdoc(type(model)) or "").partition("Reference:")
    return {
        "model": type(model).__name__,
        **metadata,
        "summary": summary.partition("\n")[0],
        "reference": inspect.cleandoc(reference),
        "config": model.get_config(),
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "signatures": {"serving_default": next(iter(table.values())), **table},
        "ranges": {name: text for name, text in ranges.items() if name in names},
        "random_numbers": RANDOM_NUMBERS,
        "versions": {**metadata.get("versions", {}), "tensorflow": tf.__version__, "keras": keras.__version__},
        "samples": _describe_samples(traced["sample"]) if "sample" in traced else None,
    }


def _first_line(method):
    return (method and inspect.getdoc(method) or "").partition("\n")[0]


def _tensor(spec):
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}


def _describe_samples(sample):
    """What the first seeds give: a mean for every machine, and a digest of exact values for machines like this one."""
    labels = {"label": 0} if "label" in sample.structured_input_signature[1] else {}
    seeds = tf.constant(SAMPLE_SEEDS, tf.int64)
    outputs = sample(seed=seeds, **{name: tf.fill(seeds.shape, tf.constant(n, tf.int64)) for name, n in labels.items()})
    (name,) = set(outputs) - {"valid"}
    rows = outputs[name].numpy()
    exact = np.round(255.0 * rows).astype(np.uint8) if name == "images" else rows
    samples = [
        {"seed": seed, "mean": round(float(row.mean()), 4), "sha256": hashlib.sha256(row_exact.tobytes()).hexdigest()}
        for seed, row, row_exact in zip(SAMPLE_SEEDS, rows, exact, strict=True)
    ]
    return {"digest_of": "uint8 pixels, round(255 x)" if name == "images" else "float32", **labels, "rows": samples}

"""What units and outputs of a network see of a picture, or put into it."""

import numpy as np
import tensorflow as tf

from common import pictures
from common.graph import graph
from trainers.metrics.rows import real_rows, require

NUM_ROWS = 10  # over which slopes are averaged
NUM_SHOWN = 8  # pixels, or units of a layer, in a line of a picture
SEEN, BLIND, ITSELF, LATER = (0.1, 0.3, 0.7), (0.95, 0.55, 0.45), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # colours


def receptive_field(run, data, options):
    """The share of pairs of a pixel and one before it, in the order of drawing, in which the one depends on the other.

    That is, in which log p(x_i | x_before(i)) has a slope by x_j, for one of 10 test images at least. In the picture
    RUN_DIR/receptive_field.png the pixels i of a line in the lower half are black; the darker the blue of another, the
    greater the mean of its |slope|; red ones come before, but are not seen. Of several masks it is the first.
    """
    model, shape, size = run.model, data.shape, int(np.prod(data.shape))
    require(len(getattr(model, "orders", ())), "the model has no order of pixels")
    require(len(shape) == 3, "the data are no images")
    some = np.linspace(0, len(data.test) - 1, min(NUM_ROWS, len(data.test))).astype(int)
    rows = real_rows(run, data, "test", some).reshape(len(some), size)
    label = {"label": data.test_labels[some]} if model.conditional else {}
    y = model.conditions(**label) if label else []

    @graph
    def of_pixel(i):
        x = tf.constant(rows)
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_p = model.log_probs(x, 0, *y)[:, i]
        return tf.reduce_mean(tf.abs(tape.gradient(log_p, x)), axis=0)

    slopes = np.stack([of_pixel(tf.constant(i)).numpy() for i in range(size)])
    before = model.orders[0] < model.orders[0][:, None]
    line = np.linspace(0, shape[1] - 1, NUM_SHOWN).round().astype(int) + 3 * shape[0] // 4 * shape[1]
    shown = [_field(slopes[i].reshape(shape), before[i].reshape(shape), i // shape[2]) for i in line * shape[2]]
    pictures.lines([np.stack(shown)], run.path / "receptive_field.png")
    return {"seen": float(np.mean(slopes[before] > 0.0)), "num_rows": len(rows)}


def _field(slopes, before, pixel):
    """The colours [height, width, 3] of one pixel's picture."""
    slopes = np.where(before, slopes, 0.0).max(axis=-1, keepdims=True)
    before = before.any(axis=-1, keepdims=True)
    level = 0.2 + 0.8 * np.sqrt(slopes / (slopes.max() or 1.0))  # what is seen at all can be told from white
    colours = np.where(slopes > 0.0, 1.0 - level * (1.0 - np.array(SEEN)), np.where(before, BLIND, LATER))
    colours.reshape(-1, 3)[pixel] = ITSELF
    return colours


def unit_features(run, data, options):
    """RUN_DIR/unit_features.png: a line for each hidden layer, from below, of what 8 of its units put into a picture.

    Those of layer l are columns of W_1 ... W_l, those of the greatest norm: what a unit adds to the input of the pixels
    through the layers beneath it, were these linear (Lee, Ekanadham and Ng 2008). Grey is 0, white is more of a pixel.
    """
    require(hasattr(run.model, "weights_down"), "the model has no layers of units over the data")
    require(len(data.shape) == 3, "the data are no images")
    lines, fields = [], np.eye(int(np.prod(data.shape)))
    for W in run.model.weights_down():
        fields = fields @ W.numpy()
        chosen = fields[:, np.argsort(-np.linalg.norm(fields, axis=0), kind="stable")[:NUM_SHOWN]].T
        scaled = 0.5 + 0.5 * chosen / np.abs(chosen).max(axis=1, keepdims=True).clip(1e-20)
        lines.append(scaled.reshape(-1, *data.shape))
    pictures.lines(lines, run.path / "unit_features.png")
    return {"num_lines": len(lines)}

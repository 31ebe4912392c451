"""What outputs and units see, of maps whose slopes are known."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from common import pictures
from tests.trainers.metrics.made import data_of, model_of, options, run_of
from trainers.metrics.fields import receptive_field, unit_features

IMAGES = np.random.default_rng(0).integers(0, 256, [13, 4, 4, 1]).astype(np.uint8)


@pytest.mark.parametrize("conditional", [False, True])
def test_what_a_linear_map_sees_of_the_pixels_before(conditional, tmp_path):
    """In the order from the end, pixel i sees those up to two places before it, and itself; one class sees nothing."""
    ahead = np.arange(16) - np.arange(16)[:, None]  # of j, in a line for each i
    slopes = np.where((0 <= ahead) & (ahead <= 2), 2.0**-ahead, 0.0).astype(np.float32)

    def log_probs(x, k, *y):
        seen = x @ slopes.T
        return seen * y[0] if y else seen

    def conditions(label):
        return [tf.cast(label[:, None] == 1, tf.float32)]

    model = model_of(log_probs=log_probs, orders=np.arange(16)[None, ::-1], conditional=conditional)
    model.conditions = conditions
    data = data_of(IMAGES, IMAGES, labels=(np.arange(13) % 2,) * 2)
    assert receptive_field(run_of(model, tmp_path), data, options()) == {"seen": (14 * 2 + 1) / 120, "num_rows": 10}
    tile = np.asarray(PIL.Image.open(tmp_path / "receptive_field.png"))[2:66:16, 2:66:16]  # of pixel 12
    black, dark, light, red, white = (tile[3, 0], tile[3, 1], tile[3, 2], tile[3, 3], tile[0, 0])
    assert not black.any() and dark[0] < light[0] < light[2] and red[0] > red[2] and np.all(white == 255)


def test_unit_features_are_products_of_weights(tmp_path):
    rng = np.random.default_rng(1)
    W_1, W_2 = rng.normal(size=(16, 12)), rng.normal(size=(12, 3))
    model = model_of(weights_down=lambda: [tf.constant(W_1), tf.constant(W_2)])
    assert unit_features(run_of(model, tmp_path), data_of(IMAGES, IMAGES), options()) == {"num_lines": 2}
    lines = []
    for fields in (W_1, W_1 @ W_2):
        largest = sorted(fields.T, key=lambda field: -(field @ field))[:8]
        lines.append(np.stack([0.5 + 0.5 * field / abs(field).max() for field in largest]).reshape(-1, 4, 4, 1))
    pictures.lines(lines, tmp_path / "expected.png")
    assert (tmp_path / "unit_features.png").read_bytes() == (tmp_path / "expected.png").read_bytes()

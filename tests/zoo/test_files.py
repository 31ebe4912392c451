"""Models from files of version 0.1.0 of the zoo: what was saved then is read now, bit for bit."""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import MODELS

FILES = Path(__file__).parent / "files"
EXPECTED = json.loads((FILES / "expected.json").read_text())


def digest(variables):
    return hashlib.sha256(b"".join(np.ascontiguousarray(v.numpy()).tobytes() for v in variables)).hexdigest()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_gives_the_model_that_was_saved(name):
    model, expected = keras.models.load_model(FILES / f"{name}.keras"), EXPECTED[name]
    config = json.loads(json.dumps(model.get_config()))  # may have arguments that there were none of
    assert type(model) is MODELS[name] and config == config | expected["config"]
    averages = {id(v) for v in model.state_averages.variables} if model.state_averages else {}  # there were none
    assert digest([v for v in model.variables if id(v) not in averages]) == expected["weights"]
    assert {move: digest(optimizer.variables) for move, optimizer in model.optimizers.items()} == expected["optimizers"]

    step, before = int(model.step), {move: digest(model.weights_of(move)) for move in model.moves}
    x = tf.random.stateless_uniform((6, *model.data_shape), [0, 1])
    data = (x, tf.constant([0, 1, 2, 0, 1, 2], tf.int64)) if model.labelled else x
    logs = model.train_step(data)
    assert step > 0 and model.step == step + 1 and all(np.isfinite(value) for value in logs.values())
    assert all(digest(model.weights_of(move)) != before[move] for move in model.moves)

"""Mixing of chains whose correlations are known: of two states, and of a machine without weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.metrics.made import data_of, model_of, options, run_of
from trainers import classifier
from trainers.metrics import DoesNotApply
from trainers.metrics.chains import chain_mixing
from zoo.energy.dbm import DBM
from zoo.energy.dbn import DBN
from zoo.implicit.gsn import State
from zoo.parts import noise

BLACK_AND_WHITE = np.tile(np.array([0, 255], np.uint8)[:, None, None, None], [1, 2, 2, 1])
LABELLED = data_of(BLACK_AND_WHITE, BLACK_AND_WHITE, labels=(np.arange(2), np.arange(2)))


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_a_chain_of_two_states_changes_at_its_rate(rate, tmp_path, monkeypatch):
    """Black to white and back: the correlation is 1 - 2 rate to the power of the lag."""

    def next_state(state, seeds, k):
        change = noise.bernoulli_rows(seeds, tf.fill([100, 1], rate), noise.stream(noise.CHAIN, k))
        x = tf.abs(state.x - change[:, :, None, None])
        return State(x, x, [])

    def end(seeds):
        x = tf.ones([2, 2, 1]) * tf.reshape(tf.cast(seeds % 2, tf.float32), [-1, 1, 1, 1])
        return State(x, x, [])

    judge = SimpleNamespace(classes=lambda x: np.rint(x[:, 0, 0, 0]).astype(int), checksum="", accuracy=1.0)
    monkeypatch.setattr(classifier, "judge_of", lambda data: judge)
    model = model_of(next_state=next_state, end=end, num_sample_steps=7, to_served=lambda x: x)
    found = chain_mixing(run_of(model, tmp_path), LABELLED, options())
    expected = {f"autocorrelation_{lag}": (1 - 2 * rate) ** lag for lag in (1, 10, 100)} | {"class_changes": rate}
    for name, value in expected.items():
        assert abs(found[name] - value) < 4 * found[f"{name}_standard_error"] < 0.2, name
    assert 1.9 < found["classes_visited"] <= 2.0 and (tmp_path / "chain.png").exists()


def test_units_of_a_machine_without_weights_are_drawn_anew_in_each_sweep(tmp_path):
    """Their means do not move; those of a machine whose two units agree have the correlation of its Gibbs chain."""
    model = DBM(data_shape=(1, 1, 1), hidden_units=(1,))
    model.machine.W[0].assign([[6.0]]), model.machine.b[0].assign([-3.0]), model.machine.b[1].assign([-3.0])
    found = chain_mixing(run_of(model, tmp_path), data_of(BLACK_AND_WHITE[:, :1, :1], None), options())
    stay = np.tanh(1.5)  # E[2 h - 1 given v] = (2 v - 1) tanh(3 / 2), and so back
    for lag in (1, 10):
        name = f"autocorrelation_{lag}"
        assert abs(found[name] - stay ** (2 * lag)) < 4 * found[f"{name}_standard_error"] < 0.2
    assert "class_changes" not in found


def test_the_chain_of_a_deep_belief_network_is_none_of_data():
    model = DBN(data_shape=(2, 2, 1), hidden_units=(2, 2), layer_steps=(1, 1))
    with pytest.raises(DoesNotApply, match="of layers above the data"):
        chain_mixing(run_of(model), LABELLED, options())

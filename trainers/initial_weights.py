"""What a run begins with in place of random weights, and a trained model taken back to train it further."""

import keras
import numpy as np

from common.cli import UserError
from zoo import weights

NAMES_SHOWN = 4


def from_run(run_dir):
    """The Keras model of a run as its newest checkpoint left it, compiled: raw weights, optimizers and step.

    `fit` goes on from there. Evaluation and export take the moving averages of weights where the run kept any:
    `model.keep_averages()` does so for good, `with model.averaged():` for a while.

    Raises:
        UserError: if the directory holds no run, or no undamaged checkpoint.
    """
    from trainers import rundir

    model = rundir.load(run_dir).model
    model.load_weights(rundir.newest(run_dir)[1])  # the raw ones again, in place of their averages
    return model


def begin(model, settings, rows):
    """Gives a new model what the flags of its run say of its first weights; `rows` are the training rows.

    Where both say something of a weight, it is that of the other run.

    Raises:
        UserError: if a run named there does not fit, or the model has no decoder that could begin at the data's mean.
    """
    if settings.initial_bias_of_data:
        flag = f"--model={settings.model} --initial_bias_of_data"
        if not hasattr(model, "begin_at"):
            raise UserError(f"{flag}: the model has no decoder of binary pixels.")
        try:
            model.begin_at(np.mean(rows, axis=0) / (255.0 if rows.dtype == np.uint8 else 1.0))
        except ValueError as error:
            raise UserError(f"{flag}: {error}") from error
    if settings.initial_weights:
        give(model, settings.initial_weights)


def give(model, run_dir):
    """Gives a new model's networks the weights of a run, averages where it kept any, wherever name and shape agree.

    Prints what was taken and what was not. Optimizers and step stay as they are.

    Raises:
        UserError: if the directory holds no run, or nothing of it fits.
    """
    from trainers import rundir

    run = rundir.load(run_dir)
    keras.config.set_dtype_policy(model.dtype_policy)  # which reading has set to float32
    own, others = weights.of_networks(model), weights.of_networks(run.model)
    fitting = [name for name, weight in own.items() if name in others and others[name].shape == weight.shape]
    source = f"--initial_weights={run_dir}, {run.settings.model} on {run.facts['dataset']} at step {run.step}"
    if not fitting:
        raise UserError(f"{source}: nothing fits in name and shape: give the run of a model with the same networks.")
    for name in fitting:
        own[name].assign(others[name])
    print(f"{source}: took {len(fitting)} of {len(own)} arrays")
    for whose, names in (("new", own), ("not taken", others)):
        if left := [name for name in names if name not in fitting]:
            more = f" and {len(left) - NAMES_SHOWN} more" if len(left) > NAMES_SHOWN else ""
            print(f"{whose}: {', '.join(left[:NAMES_SHOWN])}{more}")

"""Keras's optimizers and learning-rate schedules from plain values, as flags give them, and their moving averages."""

import contextlib
import inspect
import math

import keras

# Keras's optimizers by their names in lower case, without those that wrap others. Unlike `keras.optimizers.get`, to
# find a class here does not start TensorFlow, which must come after its devices have been divided.
OPTIMIZERS = {
    name.lower(): cls
    for name, cls in vars(keras.optimizers).items()
    if isinstance(cls, type) and "learning_rate" in inspect.signature(cls).parameters
}


def make_optimizer(optimizer="adam", schedule=None, learning_rate=0.001, **settings):
    """A Keras optimizer from plain values.

    Args:
        optimizer: str, a name in `OPTIMIZERS`.
        schedule: dict or None, `{"schedule": NAME, ...}`: the name and settings of a class in
            `keras.optimizers.schedules`, which starts at `learning_rate` if it has an initial one.
        learning_rate: float; ValueError if it is negative or infinite.
        **settings: further arguments of the optimizer.
    """
    if not learning_rate >= 0.0:
        raise ValueError(f"learning_rate must not be negative, but is {learning_rate}.")
    if learning_rate == math.inf:
        raise ValueError("learning_rate must be finite, but is inf.")
    if schedule:
        schedule = dict(schedule)
        make_schedule = getattr(keras.optimizers.schedules, schedule.pop("schedule"))
        if "initial_learning_rate" in inspect.signature(make_schedule).parameters:
            schedule["initial_learning_rate"] = learning_rate
        learning_rate = make_schedule(**schedule)
    return OPTIMIZERS[optimizer](learning_rate=learning_rate, **settings)


def with_loss_scale(optimizer):
    """The optimizer, its losses scaled so that their gradients fit into float16; one that does that stays as it is."""
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer if is_scaled else keras.optimizers.LossScaleOptimizer(optimizer)


def unscaled(optimizer):
    """The optimizer itself, without the scaling of its losses."""
    return getattr(optimizer, "inner_optimizer", optimizer)


class Averages:
    """Of a model with `optimizers`, dict of move -> optimizer, each of which may keep averages of `weights_of` it."""

    def keep_averages(self):
        """Replaces the weights of moves whose optimizer has `use_ema` by their moving averages, for good.

        Returns a list of (weight, its value before), to undo it. A constraint of a weight holds for its average, too.
        """
        replaced = []
        for move, optimizer in self.optimizers.items():
            optimizer = unscaled(optimizer)
            if optimizer.use_ema and optimizer.iterations.numpy() > 0:  # before the first step there is no average
                weights = self.weights_of(move)
                replaced += [(weight, weight.numpy()) for weight in weights]
                optimizer.finalize_variable_values(weights)
                for weight in weights:
                    if weight.constraint is not None:
                        weight.assign(weight.constraint(weight))
        return replaced

    @contextlib.contextmanager
    def averaged(self):
        """Within this block moves whose optimizer has `use_ema` play with the moving averages of their weights."""
        replaced = self.keep_averages()
        try:
            yield self
        finally:
            for weight, value in replaced:
                weight.assign(value)

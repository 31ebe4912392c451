"""Keras's optimizers and learning-rate schedules from plain values, as flags give them, and their moving averages."""

import contextlib
import inspect
import math
import re

import keras
import numpy as np
import tensorflow as tf

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


def kind_of(move):
    """The kind of a move: its name without the number that tells it from others of its kind."""
    return re.sub(r"_\d+$", "", move)


def with_loss_scale(optimizer):
    """The optimizer, its losses scaled so that their gradients fit into float16; one that does that stays as it is."""
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer if is_scaled else keras.optimizers.LossScaleOptimizer(optimizer)


def unscaled(optimizer):
    """The optimizer itself, without the scaling of its losses."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def differentiable(optimizer, weights):
    """A function (values, gradients) -> values: what an optimizer's next steps would make of `weights`, as tensors.

    It changes no variable, and gradients go through it: Keras's own steps can not be differentiated. The averages of
    Adam and a schedule of rates go on from where they are, as many steps as it is called; None among the gradients
    leaves a value alone.

    Raises:
        ValueError: for an optimizer other than plain Adam or SGD.
    """
    optimizer = unscaled(optimizer)
    extras = ("momentum", "nesterov", "amsgrad", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm",
              "gradient_accumulation_steps")  # fmt: skip
    used = [name for name in extras if getattr(optimizer, name, None)]
    kind = type(optimizer)
    if kind not in (keras.optimizers.Adam, keras.optimizers.SGD) or used:
        given = f"{kind.__name__}{' with ' + ', '.join(used) if used else ''}"
        raise ValueError(f"steps of {given} can not be unrolled: give plain adam, or sgd without momentum.")
    schedule, steps = optimizer._learning_rate, tf.cast(optimizer.iterations.value, tf.float32)
    is_schedule = isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule)
    if kind is keras.optimizers.Adam:
        b1, b2, epsilon = optimizer.beta_1, optimizer.beta_2, optimizer.epsilon
        indices = [optimizer._get_variable_index(weight) for weight in weights]
        averages = [[tf.convert_to_tensor(of[i].value) for i in indices]
                    for of in (optimizer._momentums, optimizer._velocities)]  # fmt: skip
        averages = list(zip(*averages, strict=True))

    def change(i, gradient, rate):
        if kind is keras.optimizers.SGD:
            return rate * gradient
        m, v = averages[i]
        averages[i] = m, v = m + (1.0 - b1) * (gradient - m), v + (1.0 - b2) * (tf.square(gradient) - v)
        # At 0 the slope of the root is infinite.
        return rate * tf.sqrt(1.0 - b2**steps) / (1.0 - b1**steps) * m / (tf.sqrt(tf.maximum(v, 1e-20)) + epsilon)

    def step(values, gradients):
        nonlocal steps
        rate = schedule(steps) if is_schedule else optimizer.learning_rate
        steps, moved = steps + 1.0, []
        for i, (weight, value, gradient) in enumerate(zip(weights, values, gradients, strict=True)):
            moved.append(value if gradient is None else value - change(i, gradient, rate))
            if weight.constraint is not None:
                moved[-1] = weight.constraint(moved[-1])
        return moved

    return step


def all_before_any(grads):
    """The gradients, none of which a graph uses before it has computed all of them.

    It should not need to be told. But Keras sums gradients over replicas, be it only one, in one `IdentityN` for all,
    which makes every update wait for every use of the weights. TensorFlow's dependency optimizer then drops the orders
    to wait that this implies, and the `IdentityN` after them: some uses would see updated weights, as chance has it.
    """
    with tf.control_dependencies([tf.group(*tf.nest.flatten(grads, expand_composites=True))]):
        return tf.nest.map_structure(tf.identity, grads, expand_composites=True)


def start_of(optimizer, weights):
    """What a Keras optimizer of these weights starts from: list of (variable of it, number), of counts and of slots.

    Not its learning rate, nor averages of weights, which begin with the count of steps.
    """
    optimizer = unscaled(optimizer)
    fresh = type(optimizer).from_config(optimizer.get_config())
    fresh.build(weights)
    averages = optimizer._model_variables_moving_average if optimizer.use_ema else []
    kept = {id(variable) for variable in [optimizer._learning_rate, *averages]}
    pairs = zip(optimizer.variables, fresh.variables, strict=True)
    return [(variable, start.numpy().flat[0]) for variable, start in pairs if id(variable) not in kept]


class StateAverages(keras.layers.Layer):
    """Moving averages of what networks keep beside weights, such as the statistics of batch normalisation.

    They are not a number until they are first learned: in a file of before they were kept there are none.
    """

    def __init__(self, momentums):
        super().__init__(name="state_averages")
        nan = keras.initializers.Constant(float("nan"))
        self.momentums = lambda: momentums  # list of (variable, momentum), which Keras would take for weights of ours
        for i, (variable, _) in enumerate(momentums):
            self.add_weight(shape=variable.shape, initializer=nan, trainable=False, name=f"{variable.name}_{i}")
        self.built = True

    def learn(self, changed):
        """Moves the averages of those variables that are in `changed`, a list, towards their values."""
        changed = {id(variable) for variable in changed}
        for (variable, momentum), average in zip(self.momentums(), self.weights, strict=True):
            if id(variable) in changed:
                value, old = variable.value, average.value
                average.assign(tf.where(tf.math.is_nan(old), value, momentum * old + (1.0 - momentum) * value))

    def replace(self):
        """Gives the variables their averages; returns a list of (variable, its value before)."""
        known = [(v, a) for (v, _), a in zip(self.momentums(), self.weights, strict=True) if not np.isnan(a).any()]
        replaced = [(variable, variable.numpy()) for variable, _ in known]
        for variable, average in known:
            variable.assign(average)
        return replaced

    def load_own_variables(self, store):
        if len(store):
            super().load_own_variables(store)


class Averages:
    """Of a model with `moves` and `optimizers`, move -> optimizer, each of which may average what it changes."""

    state_averages = None

    def averaging(self):  # no property, under whose name `.keras` files would keep the optimizers
        """Dict, move -> its optimizer, of those that keep averages."""
        optimizers = {move: unscaled(optimizer) for move, optimizer in self.optimizers.items()}
        return {move: optimizer for move, optimizer in optimizers.items() if optimizer.use_ema}

    def make_averages(self):
        """What compiling a model adds for averages of state; ValueError if two moves would average one weight."""
        averaged = [id(weight) for move in self.averaging() for weight in self.weights_of(move)]
        if len(averaged) > len(set(averaged)):
            raise ValueError("a network that several moves change can have use_ema in one of their optimizers only.")
        momentums = [
            (variable, optimizer.ema_momentum)
            for move, optimizer in self.averaging().items()
            for network in self.moves[move]
            for variable in network.non_trainable_variables
            if variable.dtype.startswith("float")
        ]
        if self.state_averages:
            del self.state_averages
        if momentums:
            self.state_averages = StateAverages(momentums)

    def keep_averages(self):
        """Replaces what moves change whose optimizer has `use_ema` by its moving averages, for good.

        These are weights, and what networks keep beside them: averages of batch normalisation belong to the weights
        that they were taken with. A constraint of a weight holds for its average, too.

        Returns a list of (variable, its value before), to undo it.
        """
        replaced = self.state_averages.replace() if self.state_averages else []
        for move, optimizer in self.averaging().items():
            if optimizer.iterations.numpy() > 0:  # before the first step there is no average
                weights = self.weights_of(move)
                replaced += [(weight, weight.numpy()) for weight in weights]
                optimizer.finalize_variable_values(weights)
                for weight in weights:
                    if weight.constraint is not None:
                        weight.assign(weight.constraint(weight))
        return replaced

    @contextlib.contextmanager
    def averaged(self):
        """Within this block moves whose optimizer has `use_ema` play with the moving averages of what they change."""
        replaced = self.keep_averages()
        try:
            yield self
        finally:
            for variable, value in replaced:
                variable.assign(value)

"""The one abstraction of the zoo: a game of players that minimise their own losses.

Every model is a `Game`: players (each some networks and one optimizer), one loss per player, and a schedule of moves,
which is `train_step` itself, written in the order of the paper. This file is the only one that differentiates with
respect to weights, applies gradients or knows about distribution strategies.
"""

import contextlib
import inspect
import typing

import keras
import tensorflow as tf

from zoo.parts import noise


class Tracker(keras.metrics.Mean):
    """Mean of a logged value, and the first step at which it was not finite (-1: never).

    It is a window on the run and not part of its state: files of weights do not hold it.
    """

    def __init__(self, name):
        super().__init__(name=name, dtype="float32")
        self.first_nonfinite_step = keras.Variable(
            -1, dtype="int64", trainable=False, aggregation="only_first_replica", name="first_nonfinite_step"
        )

    def track(self, values, step):
        values = tf.cast(values, tf.float32)
        self.update_state(values)
        first = self.first_nonfinite_step.value
        self.first_nonfinite_step.assign(tf.where(tf.reduce_all(tf.math.is_finite(values)) | (first >= 0), first, step))

    def reset_state(self):
        super().reset_state()
        self.first_nonfinite_step.assign(-1)

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


def all_before_any(grads):
    """The gradients, none of which a graph uses before it has computed all of them.

    It should not need to be told. But Keras sums gradients over replicas, be it only one, in one `IdentityN` for all,
    which makes every update wait for every use of the weights. TensorFlow's dependency optimizer then drops the orders
    to wait that this implies, and the `IdentityN` after them: some uses would see updated weights, as chance has it.
    """
    with tf.control_dependencies([tf.group(*tf.nest.flatten(grads, expand_composites=True))]):
        return tf.nest.map_structure(tf.identity, grads, expand_composites=True)


class Game(keras.Model):
    """A deep generative model as a game.

    A subclass has keyword-only constructor arguments of plain values, stored by `set_arguments` (they are its
    configuration), builds its networks in the constructor, and defines `players`, its losses, `train_step`,
    `test_step` and, unless it samples through `decode`, `sample`.

    Class attributes that a subclass sets:
        default_optimizers: dict, player -> dict with `optimizer` (a name Keras knows) and its settings.
        metric_names: tuple of the names of what is logged besides `<player>_loss`.
        conditional: whether `sample` takes the `label` of each row.
        labelled: whether `train_step` takes `(x, label)` instead of `x`; where it is conditional, it does.
        zero_allowed: tuple of the names of int arguments that may be 0.
        exceptions: dict, conformance check (such as "I10") -> why the mathematics of this model exempts it.

    Args:
        data_shape: tuple of ints, `(height, width, channels)` of an image or `(size,)` of a point.
        seed: int, the seed of all noise drawn in training (networks are initialised from Keras's global seed).
        name: str or None, Keras's name of the model.
    """

    default_optimizers = {}
    metric_names = ()
    conditional = False
    zero_allowed = ()
    exceptions = {}

    def __init__(self, *, data_shape, seed, name=None):
        super().__init__(name=name)
        self.data_shape = tuple(int(n) for n in data_shape)
        self.seed = seed
        if len(self.data_shape) not in (1, 3) or min(self.data_shape) < 1:
            raise ValueError(f"data_shape must be (height, width, channels) or (size,), not {tuple(data_shape)}.")
        self.step = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, name="step", aggregation="only_first_replica"
        )
        self.trackers = {
            name: Tracker(name) for name in [*(f"{p}_loss" for p in self.default_optimizers), *self.metric_names]
        }
        self.built = True  # networks are built in constructors; Keras must not try to call the model on data

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("zoo")(cls)  # `.keras` files then load without `custom_objects`

    # --- Configuration -------------------------------------------------------------------------------------------

    @classmethod
    def arguments(cls):
        """The constructor's parameters: dict, name -> `inspect.Parameter`."""
        return {name: p for name, p in inspect.signature(cls.__init__).parameters.items() if name != "self"}

    def set_arguments(self, values):
        """Stores the arguments of a constructor under their own names; called there as `set_arguments(locals())`.

        Raises:
            ValueError: for a value outside the choices of its `Literal`, a count below 1, or a negative number.
        """
        for name, parameter in self.arguments().items():
            value = tuple(values[name]) if isinstance(values[name], list) else values[name]  # JSON knows no tuples
            value = float(value) if parameter.annotation is float else value
            choices = typing.get_args(parameter.annotation)
            if typing.get_origin(parameter.annotation) is typing.Literal and value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
            least = 0 if name in self.zero_allowed else 1
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and name != "seed" and number < least and not isinstance(number, bool):
                    raise ValueError(f"{name} must be at least {least}, not {value}.")
                if isinstance(number, float) and not number >= 0.0:
                    raise ValueError(f"{name} must not be negative, but is {value}.")
            if name not in ("data_shape", "name"):  # set by `Game` and Keras
                setattr(self, name, value)

    def get_config(self):
        """The constructor's arguments as they were passed."""
        return {argument: getattr(self, argument) for argument in self.arguments()}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def compile(self, optimizers=None, *, jit_compile="auto", steps_per_execution=1, run_eagerly=False):
        """Gives each player its optimizer.

        Args:
            optimizers: dict, player -> Keras optimizer (or its name); None takes the paper's, `default_optimizers`.
            jit_compile: True, False, or "auto" for True where there is a GPU. The whole step is compiled by XLA on one
                device; under a strategy only the gradient computation is, because XLA can not span replicas.
            steps_per_execution: int, training steps that run in one call of the compiled function.
            run_eagerly: bool, run without `tf.function`, for debugging.

        Raises:
            ValueError: if `optimizers` does not name exactly the players.
        """
        optimizers = optimizers or {p: make_optimizer(**kw) for p, kw in self.default_optimizers.items()}
        if set(optimizers) != set(self.players):
            raise ValueError(
                f"{type(self).__name__} needs one optimizer for each of its players {sorted(self.players)}, "
                f"not for {sorted(optimizers)}."
            )
        self.compile_options = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
        jit_compile = bool(tf.config.list_physical_devices("GPU")) if jit_compile == "auto" else jit_compile
        distributed = tf.distribute.has_strategy()
        self.jit_gradients = jit_compile and distributed
        loss = getattr(self, "loss", None)  # a constructor argument of adversarial games, which Keras overwrites
        super().compile(
            optimizer=None,
            jit_compile=jit_compile and not distributed,
            steps_per_execution=steps_per_execution,
            run_eagerly=run_eagerly,
        )
        self.loss = loss
        scales_loss = self.dtype_policy.name == "mixed_float16"
        self.optimizers = {}
        for player, optimizer in optimizers.items():
            optimizer = keras.optimizers.get(optimizer)
            if scales_loss and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            if not optimizer.built:
                optimizer.build(self.weights_of(player))
            self.optimizers[player] = optimizer

    @property
    def jit_compile(self):
        """Whether the whole step is compiled by XLA. Keras's own setter gives it up for deterministic operations."""
        return self._jit_compile

    @jit_compile.setter
    def jit_compile(self, value):
        self._jit_compile = value

    def get_compile_config(self):
        optimizers = {p: keras.saving.serialize_keras_object(o) for p, o in self.optimizers.items()}
        return {"optimizers": optimizers, **self.compile_options}

    def compile_from_config(self, config):
        optimizers = {p: keras.saving.deserialize_keras_object(o) for p, o in config["optimizers"].items()}
        self.compile(**{**config, "optimizers": optimizers})

    # --- Playing -------------------------------------------------------------------------------------------------

    @property
    def players(self):
        """Dict, player -> list of its networks; together they hold every trainable weight once."""
        raise NotImplementedError(f"{type(self).__name__} does not say who its players are.")

    @property
    def labelled(self):
        return self.conditional

    @property
    def batches_per_step(self):
        """Minibatches of data that one `train_step` takes, concatenated along axis 0."""
        return 1

    def weights_of(self, player):
        return [weight for network in self.players[player] for weight in network.trainable_variables]

    def keys(self, num):
        """`num` random keys, a pure function of (seed, step, replica): a resumed run draws what it would have drawn."""
        return noise.keys(self.seed, self.step.value, self.replica_id(), num)

    def replica_id(self):
        context = tf.distribute.get_replica_context()
        return context.replica_id_in_sync_group if context else 0

    def minimize(self, loss_fn):
        """One simultaneous move: one forward pass, the gradients of all players in it, then all updates.

        Args:
            loss_fn: function without arguments that returns a dict: player -> its loss per example, of any shape, and
                metric name -> values to log. A player's gradient is that of its mean loss by its own weights.
        """

        def gradients():
            with tf.GradientTape(persistent=True) as tape:
                outcome = loss_fn()
                losses = {player: tf.reduce_mean(outcome[player]) for player in outcome if player in self.optimizers}
                objectives = {}
                for player, loss in losses.items():
                    # `apply` sums over replicas: this is the one place that makes a mean of it.
                    share = tf.cast(loss, tf.float32) / tf.distribute.get_strategy().num_replicas_in_sync
                    objectives[player] = self.optimizers[player].scale_loss(share)
            return outcome, {p: tape.gradient(objectives[p], self.weights_of(p)) for p in objectives}

        outcome, grads = (tf.function(gradients, jit_compile=True) if self.jit_gradients else gradients)()
        grads = all_before_any(grads)
        for player in grads:
            self.optimizers[player].apply(grads[player], self.weights_of(player))
        self.track(outcome)

    def track(self, outcome):
        """Logs a dict as `minimize` takes it: the losses of players and the values of metrics."""
        for name, values in outcome.items():
            self.trackers[f"{name}_loss" if name in self.players else name].track(values, self.step.value)

    def logs(self):
        """What a step returns to Keras: metric name -> mean since the last reset."""
        logs = {tracker.name: tracker.result() for tracker in self.metrics}
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            logs = {name: value[None] for name, value in logs.items()}  # Keras reduces them along axis 0 there
        return logs

    def next_step(self):
        """Ends a `train_step`: advances `step` and returns the logs."""
        self.step.assign_add(1)
        return self.logs()

    @property
    def metrics(self):
        return list(self.trackers.values())

    def keep_averages(self):
        """Replaces the weights of players whose optimizer has `use_ema` by their moving averages, for good.

        Returns:
            list of (weight, its value before), to undo it.
        """
        replaced = []
        for player, optimizer in self.optimizers.items():
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
            if optimizer.use_ema and optimizer.iterations.numpy() > 0:  # before the first step there is no average
                replaced += [(weight, weight.numpy()) for weight in self.weights_of(player)]
                optimizer.finalize_variable_values(self.weights_of(player))
        return replaced

    @contextlib.contextmanager
    def averaged(self):
        """Within this block players whose optimizer has `use_ema` play with the moving averages of their weights."""
        replaced = self.keep_averages()
        try:
            yield self
        finally:
            for weight, value in replaced:
                weight.assign(value)

    # --- Sampling and serving ------------------------------------------------------------------------------------

    @property
    def data_range(self):
        """`(low, high)` of the pixels the networks work with; None for points, which are taken as they are."""
        return (0.0, 1.0) if len(self.data_shape) == 3 else None

    @property
    def data_name(self):
        """What signatures call one row of data: "images" or "points"."""
        return "images" if len(self.data_shape) == 3 else "points"

    def to_served(self, x):
        """From the networks' range to what is served: float32, pixels in [0, 1]."""
        x = tf.cast(x, tf.float32)
        if self.data_range is None:
            return x
        low, high = self.data_range
        return tf.clip_by_value((x - low) / (high - low), 0.0, 1.0)

    def from_served(self, x):
        """The inverse of `to_served`."""
        if self.data_range is None:
            return x
        low, high = self.data_range
        return low + (high - low) * x

    def decode(self, z, **label):
        """Served data [batch, *data_shape] at latent points z [batch, latent_size]."""
        raise NotImplementedError(f"{type(self).__name__} has no decoder.")

    def latent(self, seeds):
        """The latent point z [batch, latent_size], float32, that `sample` decodes for each int64 seed [batch]."""
        return self.latent_prior.rows(seeds, self.latent_size)

    def sample(self, seeds, **label):
        """One row of served data per int64 seed [batch]; no row depends on another."""
        return self.decode(self.latent(seeds), **label)

    def interpolate(self, z_from, z_to, alpha, **label):
        """`decode` on the straight line from `z_from` (alpha = 0) to `z_to` (alpha = 1), as in Radford et al. 2015."""
        return self.decode(z_from + alpha[:, None] * (z_to - z_from), **label)

    def signatures(self):
        """The export contract: dict, name -> (function of named tensors that returns a dict, dict of input specs).

        Dimension 0 of every input and output is the batch, and every row is independent of the others. The first is the
        default of a server; a model that draws no samples has no "sample" here.
        """
        seed = {"seed": tf.TensorSpec([None], tf.int64), **self.label_spec}
        signatures = {"sample": (lambda seed, **label: {self.data_name: self.sample(seed, **label)}, seed)}
        if hasattr(self, "latent_size"):
            latent = {"z": tf.TensorSpec([None, self.latent_size], tf.float32)}
            ends = {"z_from": latent["z"], "z_to": latent["z"], "alpha": tf.TensorSpec([None], tf.float32)}
            signatures |= {
                "latent": (lambda seed: {"z": self.latent(seed)}, {"seed": seed["seed"]}),
                "decode": (lambda z, **label: {self.data_name: self.decode(z, **label)}, {**latent, **self.label_spec}),
                "interpolate": (
                    lambda **inputs: {self.data_name: self.interpolate(**inputs)},
                    {**ends, **self.label_spec},
                ),
            }
        if self.data_name == "images":

            def sample_png(seed, **label):
                return {"image_bytes": encode_png(self.sample(seed, **label))}

            signatures["sample_png"] = (sample_png, seed)
        return signatures

    def before_export(self, results):
        """Completes a trained model for serving, for those that need more than their weights.

        Args:
            results: dict, metric -> dict of numbers that `trainers.evaluate` measured at this step; may be empty.

        Returns:
            dict of numbers for the model card.
        """
        return {}

    @property
    def data_spec(self):
        return {self.data_name: tf.TensorSpec([None, *self.data_shape], tf.float32)}

    @property
    def label_spec(self):
        return {"label": tf.TensorSpec([None], tf.int64)} if self.conditional else {}


def encode_png(images):
    """PNG files, string [batch], of images [batch, height, width, 1 or 3] in [0, 1]."""
    pixels = tf.cast(tf.round(images * 255.0), tf.uint8)
    return tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.string)


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
        learning_rate: float.
        **settings: further arguments of the optimizer.

    Raises:
        ValueError: for a setting out of its range.
    """
    if not learning_rate >= 0.0:
        raise ValueError(f"learning_rate must not be negative, but is {learning_rate}.")
    if schedule:
        schedule = dict(schedule)
        make_schedule = getattr(keras.optimizers.schedules, schedule.pop("schedule"))
        if "initial_learning_rate" in inspect.signature(make_schedule).parameters:
            schedule["initial_learning_rate"] = learning_rate
        learning_rate = make_schedule(**schedule)
    return OPTIMIZERS[optimizer](learning_rate=learning_rate, **settings)

"""The one abstraction of the zoo: a game of players that minimise their own losses in moves.

Every model is a `Game`: moves (each some networks and one optimizer), one loss per move, and a schedule of moves, which
is `train_step` itself, written in the order of the paper. This file is the only one that differentiates with respect
to weights, applies gradients or knows about distribution strategies.
"""

import contextlib
import functools
from typing import Literal

import keras
import tensorflow as tf

from common.graph import graph
from zoo.configuration import NONE, Argument, Configured
from zoo.inputs import Inputs
from zoo.keys import Keys, step_that_draws
from zoo.logs import Counter, Tracker
from zoo.optimizers import Averages, all_before_any, kind_of, make_optimizer, with_loss_scale
from zoo.parts import noise
from zoo.parts.layers import Activation
from zoo.serving import Serving
from zoo.weights import name_networks


class Game(Configured, Keys, Averages, Inputs, Serving, keras.Model):
    """A deep generative model as a game.

    A subclass has a constructor with keyword-only arguments of plain values, its configuration, which does nothing but
    `super().__init__(locals())`; builds its networks in `make_networks`; and defines `moves`, its losses, `train_step`,
    `test_step` and, unless it samples through `decode`, `sample`.

    Class attributes that a subclass sets, beside those of `Configured` and `Serving`:
        default_optimizers: dict, kind of moves -> dict with `optimizer` (a name Keras knows) and its settings.
        metric_names: tuple of the names of what is logged besides `<move>_loss`.
        labelled: whether `train_step` takes `(x, label)` instead of `x`; where it is conditional, it does.
        support: what the model's p(x) gives a probability or a density: "binary" numbers, "levels" of grey (there are
            `num_levels`) or "reals"; None of a model without. Where log p(x) can be computed, no bound on it, the model
            has a method `exact_log_prob` of x in the networks' range, [batch, *data_shape], and of y if it is told:
            nats [batch].
        exceptions: dict, conformance check (such as "I10") -> why the mathematics of this model exempts it.

    Every constructor raises ValueError for an argument out of its range, and for data that the networks can not take.
    """

    # What these mean in every model that has them.
    shared_arguments = {
        "data_shape": Argument(NONE, NONE, "tuple of ints, `(height, width, channels)` or, of points, `(size,)`."),
        "latent_size": Argument(int, NONE, "int, the length of z."),
        "network": Argument(Literal["mlp", "convolutional"], "mlp", '"mlp", or "convolutional" for square images.'),
        "filters": Argument(int, NONE, "int, channels next to the image, doubled at each halving (convolutional)."),
        "activation": Argument(Activation, NONE, "str, the activation of hidden layers."),
        "num_halvings": Argument(int, 0, "int, halvings of the side, each rounded up, as 28 by 3 to 4 pixels; 0 for as "
                                 "many as go evenly, to 4 to 7 pixels (convolutional)."),
        "dropout": Argument(float, 0.0, "float in [0, 1), the share of hidden units that is dropped in training."),
        "num_levels": Argument(int, 256, "int >= 2, how many grey levels there are: a pixel x is level "
                               "round((num_levels - 1) x). 17 for the digits."),
        "seed": Argument(int, 0, "int, the seed of all noise drawn in training."),
        "name": Argument(str | None, None, "str or None."),
    }  # fmt: skip
    default_optimizers = {}
    metric_names = ()
    support = None
    exceptions = {}
    jit_compile = None  # whether XLA compiles the whole step: Keras's property gives it up for deterministic operations

    def __init__(self, arguments):
        super().__init__(name=arguments["name"])
        shape = tuple(int(n) for n in arguments["data_shape"])
        if len(shape) not in (1, 3) or min(shape) < 1:
            raise ValueError(f"data_shape must be (height, width, channels) or (size,), not {shape}.")
        self.set_arguments({**arguments, "data_shape": shape})
        self.check_arguments()
        self.step = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False, name="step", aggregation="only_first_replica"
        )
        self.test_steps = Counter("test_steps")
        self.trackers = {}
        self.make_networks()
        name_networks(self)
        self.built = True  # networks are built in constructors; Keras must not try to call the model on data

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name, use in (("train_step", noise.TRAINING), ("test_step", noise.TEST)):
            if name in vars(cls):
                setattr(cls, name, step_that_draws(vars(cls)[name], use))
        keras.saving.register_keras_serializable("zoo")(cls)  # `.keras` files then load without `custom_objects`

    def check_arguments(self):
        """Raises ValueError for arguments that do not go together."""

    def make_networks(self):
        """Builds the networks, from the arguments, which are attributes by now."""

    # --- Moves -------------------------------------------------------------------------------------------------------

    @property
    def moves(self):
        """Dict, move -> list of the networks that it changes; every trainable weight is in at least one of them.

        In most models a player has one move, and they share the name. `generator_0` and `generator_1` are moves of the
        kind `generator`: which there are may depend on the arguments, and one set of settings serves their optimizers.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its moves are.")

    @property
    def labelled(self):
        return self.conditional

    @property
    def batches_per_step(self):
        """Minibatches of data that one `train_step` takes, concatenated along axis 0."""
        return 1

    def weights_of(self, move):
        """The trainable weights that a move changes, a list."""
        return [weight for network in self.moves[move] for weight in network.trainable_variables]

    def compile(self, optimizers=None, *, optimizer=None, jit_compile="auto", steps_per_execution=1, run_eagerly=False):
        """Gives each move its optimizer.

        Args:
            optimizers: dict, move -> Keras optimizer (or its name), or of a model of one move that optimizer; None
                takes the paper's, `default_optimizers`.
            optimizer: the same, by Keras's name.
            jit_compile: True, False, or "auto" for True where there is a GPU. The whole step is compiled by XLA on one
                device; under a strategy only the gradient computation is, because XLA can not span replicas.
            steps_per_execution, run_eagerly: as in Keras.

        Raises:
            ValueError: if `optimizers` does not name exactly the moves, or two moves would average one weight.
        """
        optimizers = optimizers or optimizer
        if not optimizers:
            optimizers = {move: make_optimizer(**self.default_optimizers[kind_of(move)]) for move in self.moves}
        elif not isinstance(optimizers, dict):
            optimizers = {move: optimizers for move in self.moves} if len(self.moves) == 1 else {str(optimizers): None}
        if set(optimizers) != set(self.moves):
            needed = f"{type(self).__name__} needs a dict with an optimizer for each of its moves {sorted(self.moves)}"
            raise ValueError(f"{needed}, not {sorted(optimizers)}.")
        self.compile_options = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
        jit_compile = bool(tf.config.list_physical_devices("GPU")) if jit_compile == "auto" else jit_compile
        distributed = tf.distribute.has_strategy()
        self.jit_gradients = jit_compile and distributed
        loss = getattr(self, "loss", None)  # a constructor argument of adversarial games, which Keras overwrites
        options = {"steps_per_execution": steps_per_execution, "run_eagerly": run_eagerly}
        super().compile(optimizer=None, jit_compile=jit_compile and not distributed, **options)
        self.loss = loss
        self.optimizers = {}
        for move, optimizer in optimizers.items():
            optimizer = keras.optimizers.get(optimizer)
            if self.dtype_policy.name == "mixed_float16":
                optimizer = with_loss_scale(optimizer)
            if not optimizer.built:
                optimizer.build(self.weights_of(move))
            self.optimizers[move] = optimizer
        self.make_averages()
        self.trackers = {name: Tracker(name) for name in [*(f"{m}_loss" for m in self.moves), *self.metric_names]}

    def get_compile_config(self):
        optimizers = {m: keras.saving.serialize_keras_object(o) for m, o in self.optimizers.items()}
        return {"optimizers": optimizers, **self.compile_options}

    def compile_from_config(self, config):
        optimizers = {m: keras.saving.deserialize_keras_object(o) for m, o in config["optimizers"].items()}
        self.compile(**{**config, "optimizers": optimizers})

    def minimize(self, loss_fn, lookahead=None):
        """Simultaneous moves: one forward pass, the gradients of all moves in it, then all updates.

        A weight without a gradient is left alone. State of networks, such as the averages of batch normalisation,
        changes in their own moves only, whoever else makes use of them; counts of draws go on in any.

        Args:
            loss_fn: function without arguments that returns a dict: move -> its loss per example, of any shape, and
                metric name -> values to log. A move's gradient is that of its mean loss by its own weights. Or a pair,
                (index, functions like it), of which the index-th happens: weights that it leaves out have zeros.
            lookahead: None, or a function like `loss_fn`: gradients are then those after trial moves by its losses, and
                what they update is the weights from before (extragradient; Korpelevich 1976). Neither draws keys.
        """
        with self._ahead(lookahead) if lookahead else contextlib.nullcontext():
            outcome, grads, state = self._gradients(loss_fn)
        self._apply(grads)
        for variable, value in state:
            variable.assign(value)
        if self.state_averages:
            self.state_averages.learn([variable for variable, _ in state])
        self.track(outcome)

    def descend(self, move, gradients):
        """A move along a ready-made gradient, of no loss that could be differentiated.

        `gradients` is a list of tensors in the order of `weights_of(move)`; None leaves a weight alone.
        """
        self._apply({move: [None if g is None else self._share(move, g) for g in gradients]})

    def restart(self, starts, when):
        """Gives variables, a list of (variable, number), their numbers where `when`, a bool scalar, is true."""

        def assign(strategy, when):
            for held, n in starts:
                update = functools.partial(lambda n, v, w: v.assign(tf.where(w, tf.cast(n, v.dtype), v)), n)
                strategy.extended.update(held.value, update, args=(when,))

        tf.distribute.get_replica_context().merge_call(assign, args=(when,))

    def _share(self, move, value):
        """A loss or gradient as the optimizer wants it, which sums over replicas: only here it becomes a mean."""
        share = tf.cast(value, tf.float32) / tf.distribute.get_strategy().num_replicas_in_sync
        return self.optimizers[move].scale_loss(share)

    def _gradients(self, loss_fn):
        """What `loss_fn` returns, the gradients of the moves in it, and the state of their networks after it."""
        movers, changed = [], []

        def gradients(loss_fn, unused=lambda weight: None):
            scope = keras.StatelessScope()  # keeps what networks would do to their state
            with tf.GradientTape(persistent=True) as tape:
                with scope:
                    outcome = loss_fn()
                movers[:] = [move for move in outcome if move in self.optimizers]
                objectives = {move: self._share(move, tf.reduce_mean(outcome[move])) for move in movers}
            changed[:] = [v for v in self._state_of(movers) if scope.get_current_value(v) is not None]
            grads = {move: tape.gradient(objectives[move], self.weights_of(move)) for move in movers}
            for move, found in grads.items():
                found[:] = [unused(w) if g is None else g for g, w in zip(found, self.weights_of(move), strict=True)]
            return outcome, grads, [scope.get_current_value(v) for v in changed]

        def in_phase(index, functions):
            return self.phase(index, [functools.partial(gradients, function, tf.zeros_like) for function in functions])

        compute = functools.partial(*((in_phase, *loss_fn) if isinstance(loss_fn, tuple) else (gradients, loss_fn)))
        outcome, grads, values = (graph(compute, jit_compile=True) if self.jit_gradients else compute)()
        return outcome, grads, list(zip(changed, values, strict=True))

    def _state_of(self, movers):
        """The variables beside weights that these moves change: those of their networks, and all counts of draws.

        An integer counts what has been drawn, in whoever's move, so that no later move draws it again.
        """
        own = {id(v) for move in movers for network in self.moves[move] for v in network.non_trainable_variables}
        return [v for v in self.non_trainable_variables if id(v) in own or v.dtype == "int64"]

    def _apply(self, gradients):
        pairs = {
            move: [(g, w) for g, w in zip(grads, self.weights_of(move), strict=True) if g is not None]
            for move, grads in gradients.items()
        }
        used = {move: [g for g, _ in of_move] for move, of_move in pairs.items()}
        for move, grads in all_before_any(used).items():
            if grads:
                self.optimizers[move].apply(grads, [w for _, w in pairs[move]])

    @contextlib.contextmanager
    def _ahead(self, loss_fn):
        """Within this block weights are where the moves of `loss_fn` lead. Optimizers and averages remember it."""
        outcome, grads, _ = self._gradients(loss_fn)
        weights = [w for move in grads for w in self.weights_of(move)]
        before = [tf.identity(w.value) for w in weights]
        self._apply(grads)
        try:
            yield
        finally:
            for weight, value in zip(weights, before, strict=True):
                weight.assign(value)

    def replica_id(self):
        context = tf.distribute.get_replica_context()
        return context.replica_id_in_sync_group if context else 0

    # --- Logs --------------------------------------------------------------------------------------------------------

    def track(self, outcome):
        """Logs a dict as `minimize` takes it: the losses of moves and the values of metrics."""
        for name, values in outcome.items():
            self.trackers[f"{name}_loss" if name in self.moves else name].track(values, self.step.value)

    def logs(self):
        """What a step returns to Keras: metric name -> mean since the last reset."""
        logs = {tracker.name: tracker.result() for tracker in self.metrics}
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            return {name: value[None] for name, value in logs.items()}  # Keras reduces them along axis 0 there
        return logs

    def next_step(self):
        """Ends a `train_step`: advances `step` and returns the logs."""
        self.step.assign_add(1)
        return self.logs()

    @property
    def metrics(self):
        return list(self.trackers.values())

    def reset_metrics(self):
        super().reset_metrics()
        self.test_steps.reset_state()

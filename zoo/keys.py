"""Keys of random numbers by name: a step may draw each once, by whatever part of the model."""

import contextlib
import functools
import threading

import tensorflow as tf

from zoo.parts import noise


class Drawing:
    """Who draws keys: the model, for which use, at which step, from which seed; and the keys that it has drawn."""

    def __init__(self, model, use, step, seed):
        self.model, self.use, self.step, self.seed, self.drawn = model, use, step, seed, set()


class Now(threading.local):  # under a strategy, every replica has a thread of its own
    drawing = None


now = Now()


class Keys:
    """Of a model with a `seed`, a `step` and a `replica_id()`, which draws by the names that it declares in `draws`."""

    @property
    def draws(self):
        """The names of the keys that one step can draw, as often as it draws them; their order decides the keys."""
        return ()

    def key(self, name, index=0, shared=False):
        """A random key for one draw, a pure function of (seed, step, replica, name, index).

        Args:
            name: str, one of `draws`.
            index: int or scalar integer tensor, which of the draws of this name.
            shared: bool, whether all replicas get the same key.

        Raises:
            ValueError: for a name or index that `draws` does not have, or a key that this step has drawn before, where
                a graph knows the index.
        """
        drawing = self._drawing_now()
        positions = [i for i, drawn in enumerate(self.draws) if drawn == name]
        known = tf.get_static_value(index)
        number = None if known is None else int(known)
        if not positions or (number is not None and not 0 <= number < len(positions)):
            raise ValueError(f"{type(self).__name__} draws no {name} of index {index}: its draws are {self.draws}.")
        if (name, number) in drawing.drawn:
            raise ValueError(f"the key {name} of index {index} was drawn before in this step: noise would be repeated.")
        drawing.drawn.add((name, number))
        position = positions[number] if number is not None else tf.gather(positions, index)
        return noise.key(drawing.seed, drawing.step, drawing.use + (0 if shared else self.replica_id()), position)

    def _drawing_now(self):
        if now.drawing and now.drawing.model is self:
            return now.drawing
        return Drawing(self, noise.TRAINING, self.step.value, self.seed)  # outside of a step nobody counts

    @contextlib.contextmanager
    def drawing(self, use, step, seed=None):
        """Within this block `key` draws each key once, for a use such as `noise.EVALUATION`, at this step.

        `step` is an integer, `seed` one, or None for the model's. Replicas are threads and see only their own blocks.
        """
        before, now.drawing = now.drawing, Drawing(self, use, step, self.seed if seed is None else seed)
        try:
            yield
        finally:
            now.drawing = before

    def phase(self, index, branches):
        """`tf.switch_case` of functions, each of which may draw the keys that the others do: one of them happens."""
        drawing = self._drawing_now()
        before, after = set(drawing.drawn), set()

        def with_keys_of_its_own(branch):
            drawing.drawn = set(before)
            result = branch()
            after.update(drawing.drawn)
            return result

        result = tf.switch_case(index, [functools.partial(with_keys_of_its_own, branch) for branch in branches])
        drawing.drawn = before | after
        return result


def step_that_draws(method, use):
    """The method `train_step` or `test_step` of data as `received`, within whose calls each key is drawn once."""

    @functools.wraps(method)
    def step(self, data):
        if now.drawing and (now.drawing.model, now.drawing.use) == (self, use):  # called by a subclass's own
            return method(self, data)
        with self.drawing(use, self.step.value if use == noise.TRAINING else self.test_steps.result()):
            logs = method(self, self.received(data, divided=use == noise.TRAINING))
        if use == noise.TEST:
            self.test_steps.count.assign_add(1)
        return logs

    return step

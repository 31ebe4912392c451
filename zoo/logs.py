"""What a model keeps of its steps beside its weights: means of what is logged, and a count."""

import keras
import tensorflow as tf


class Unsaved(keras.metrics.Metric):
    """A metric that is a window on the run and not part of its state: files of weights do not hold it."""

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


class Tracker(Unsaved, keras.metrics.Mean):
    """Mean of a logged value, and the first step at which it was not finite (-1: never)."""

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


class Counter(Unsaved):
    """How many steps there were since the last reset."""

    def __init__(self, name):
        super().__init__(name=name, dtype="int64")
        self.count = keras.Variable(0, dtype="int64", trainable=False, aggregation="only_first_replica", name="count")

    def result(self):
        return self.count.value

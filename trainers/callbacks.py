"""What happens beside training: the log, the checkpoints and the pictures of samples. One class for each.

All count steps from the beginning of the run, resumed or not.
"""

import json
import math
import os
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from common import pictures
from common.cli import UserError
from common.files import to_json, write_atomically
from common.graph import graph
from trainers import rundir
from zoo.game import kind_of


class _EverySteps(keras.callbacks.Callback):
    """Calls `act(step, logs)` after every `every` steps, and after the last one."""

    def __init__(self, path, every, first_step, num_steps):
        super().__init__()
        self.path, self.every, self.first_step, self.num_steps = path, every, first_step, num_steps

    def on_train_batch_end(self, batch, logs=None):
        step = min(self.first_step + batch + 1, self.num_steps)
        if step % self.every == 0 or step == self.num_steps:
            try:
                self.act(step, {name: float(np.mean(value)) for name, value in logs.items()})
            except OSError as error:  # a full disk
                reason = os.strerror(error.errno) if error.errno else error
                raise UserError(
                    f"{self.path} can not be written: {reason}; training stopped at step {step}."
                ) from error


class Log(_EverySteps):
    """Writes the mean of every loss and metric since the last line to metrics.jsonl and TensorBoard.

    Raises:
        UserError: when a loss is not finite, naming the step and the move.
    """

    def __init__(self, *args, writes):
        super().__init__(*args)
        self.writes = writes
        self.verbose = writes and not sys.stdout.isatty()  # a terminal has Keras's progress bar

    def on_train_begin(self, logs=None):
        self.last_step, self.last_time = self.first_step, time.perf_counter()
        if self.writes:
            self.file = self.path / "metrics.jsonl"
            lines = self.file.read_text().splitlines() if self.file.exists() else []
            kept = [line for line in lines if _step_of(line) <= self.first_step]  # what is resumed logs the rest anew
            rundir.write_text(self.file, "".join(line + "\n" for line in kept))
            self.board = tf.summary.create_file_writer(str(self.path / "tensorboard"))

    def act(self, step, logs):
        self.check(step, logs)
        now = time.perf_counter()
        speed = (step - self.last_step) / (now - self.last_time)
        self.last_step, self.last_time = step, now
        self.model.reset_metrics()
        if not self.writes:
            return
        with open(self.file, "a") as file:
            file.write(to_json({"step": step, **logs, "steps_per_second": round(speed, 2)}) + "\n")
        with self.board.as_default(step):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
        if self.verbose:
            values = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
            remaining = (self.num_steps - step) / speed
            pace = f"{1000 / speed:.1f} ms/step  {remaining:.0f} s left"
            print(f"step {step}/{self.num_steps}  {values}  {pace}", flush=True)

    def check(self, step, logs):
        for move in self.model.moves:
            value = logs[f"{move}_loss"]
            if not math.isfinite(value):
                first = int(self.model.trackers[f"{move}_loss"].first_nonfinite_step.numpy())
                step = first + 1 if first >= 0 else step  # -1, never, where it was another replica's loss
                good = rundir.checkpoints(self.path)
                last = f"the last good checkpoint, {good[-1][1]}, stays" if good else "no checkpoint had been written"
                raise UserError(
                    f"the loss of the {move} became {value} at step {step}: training stopped, {last}; "
                    f"try a smaller --{kind_of(move)}.learning_rate."
                )


def _step_of(line):
    try:
        return json.loads(line)["step"]
    except ValueError:  # half a line, left by a crash
        return math.inf


class Checkpoints(_EverySteps):
    """Writes checkpoints and keeps the newest `keep` of them."""

    def __init__(self, *args, keep):
        super().__init__(*args)
        self.keep = keep

    def act(self, step, logs):
        try:
            rundir.save(self.model, self.path, step, self.keep)
        except FloatingPointError as error:
            raise UserError(
                f"{error}: training stopped, earlier checkpoints stay; try smaller learning rates."
            ) from error


class Samples(_EverySteps):
    """Draws a picture of samples from the same seeds each time, of a conditional model one class for each line.

    Points are drawn over as many test points, and kept as numbers too, step_NNNNNN.npy beside the picture.
    """

    NUM_POINTS = 2000

    def __init__(self, *args, data):
        super().__init__(*args)
        self.data = data

    def on_train_begin(self, logs=None):
        self.num_classes = self.model.num_classes if self.model.conditional else None
        is_image = self.model.data_name == "images"
        num_rows = pictures.number_of_images(self.num_classes) if is_image else self.NUM_POINTS
        self.inputs = {"seeds": tf.range(num_rows, dtype=tf.int64)}
        if self.num_classes:
            self.inputs["label"] = tf.constant(pictures.labels_of(num_rows, self.num_classes), tf.int64)
        self.sample = graph(self.model.sample)

    def act(self, step, logs):
        with self.model.averaged():
            rows = self.sample(**self.inputs).numpy()
        file = self.path / "samples" / f"step_{step:06d}.png"
        pictures.picture(rows, file, self.num_classes, data=self.data.test[: self.NUM_POINTS])
        if rows.ndim == 2:
            write_atomically(file.with_suffix(".npy"), lambda path: np.save(open(path, "wb"), rows))

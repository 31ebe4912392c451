"""What happens beside training: the log, the checkpoints and the pictures of samples. One class for each.

All count steps from the beginning of the run, resumed or not.
"""

import contextlib
import functools
import json
import math
import os
import signal
import sys
import threading
import time

import keras
import numpy as np
import PIL.Image
import tensorflow as tf

from common import cli, pictures
from common.cli import UserError
from common.files import to_json, write_atomically
from common.graph import graph
from trainers import rundir
from zoo.optimizers import kind_of


class Stop(keras.callbacks.Callback):
    """Within this context a signal ends the training when its step is done, a second one at once.

    It must be the first of the callbacks: the others then see `model.stop_training`. `number` is the signal, or None.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    number = None

    def __init__(self, signals=SIGNALS):
        super().__init__()
        self.signals = signals if threading.current_thread() is threading.main_thread() else ()  # Python's rule

    def __enter__(self):
        heeded = [number for number in self.signals if signal.getsignal(number) != signal.SIG_IGN]
        self.previous = {number: signal.signal(number, self.handle) for number in heeded}
        return self

    def __exit__(self, *_):
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def handle(self, number, frame):
        if self.number:
            raise cli.Stopped(number, "stopped at once; the same command again goes on from the last checkpoint")
        self.number = number
        with contextlib.suppress(OSError):  # not `print`, which may be what the signal has interrupted
            os.write(2, b"\nstopping when this step is done; a second signal stops at once\n")

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = self.number is not None


PACE = "steps_per_second", "cpu_seconds_per_step"  # a line of metrics.jsonl ends with them; of all threads


class _EverySteps(keras.callbacks.Callback):
    """Calls `act(step, logs)` after every `every` steps and after the last one, be it because of `Stop`."""

    acts_on_stop = True

    def __init__(self, path, every, first_step, num_steps):
        super().__init__()
        self.path, self.every, self.first_step, self.num_steps = path, every, first_step, num_steps

    def step_of(self, batch):
        return min(self.first_step + batch + 1, self.num_steps)  # Keras's last batch may lie beyond

    def on_train_batch_end(self, batch, logs=None):
        step = self.step_of(batch)
        stops = self.model.stop_training and self.acts_on_stop
        if step % self.every == 0 or step == self.num_steps or stops:
            self.act(step, {name: float(np.mean(value)) for name, value in logs.items()})

    def writing(self, step):
        return cli.writing(self.path, f"; training stopped at step {step}")


class Log(_EverySteps):
    """Writes the mean of every loss and metric since the last line to metrics.jsonl and TensorBoard, and prints it.

    On a terminal the line is rewritten in place, also in between.

    Raises:
        UserError: when a loss is not finite, naming the step and the move.
    """

    def __init__(self, *args, board):
        super().__init__(*args)
        self.board = board  # None in workers that are not to write
        self.terminal, self.unfinished = bool(board) and sys.stdout.isatty(), False

    def on_train_begin(self, logs=None):
        self.last_step, self.last_shown, self.last_times = self.first_step, -math.inf, self.times()
        if self.board:
            self.file = self.path / "metrics.jsonl"
            lines = self.file.read_bytes().splitlines() if self.file.exists() else []
            steps = [logged_step(line) for line in lines]
            if damaged := steps.count(math.nan):
                print(f"{self.file}: damaged lines are left out, {damaged} of {len(lines)}.", file=sys.stderr)
            # What is resumed logs the rest anew.
            kept = [line for line, step in zip(lines, steps, strict=True) if step <= self.first_step]
            rundir.write_atomically(self.file, lambda path: path.write_bytes(b"".join(line + b"\n" for line in kept)))

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        step = self.step_of(batch)
        if self.terminal and step > self.last_step and time.perf_counter() > self.last_shown + 0.1:
            self.show(step, logs)

    def act(self, step, logs):
        self.check(step, logs)
        speed, cpu = self.pace(step)
        if self.board:
            self.show(step, logs)
            with self.writing(step):
                with open(self.file, "a") as file:
                    pace = {name: float(f"{value:.4g}") for name, value in zip(PACE, (speed, cpu), strict=True)}
                    file.write(to_json({"step": step, **logs, **pace}) + "\n")
                self.board.write(step, logs)
        self.last_step, self.last_times = step, self.times()
        self.model.reset_metrics()

    @staticmethod
    def times():
        return time.perf_counter(), time.process_time()

    def pace(self, step):
        """What `PACE` names, since the last line."""
        seconds, cpu_seconds = (now - last for now, last in zip(self.times(), self.last_times, strict=True))
        return (step - self.last_step) / seconds, cpu_seconds / (step - self.last_step)

    def show(self, step, logs):
        values = "  ".join(f"{name} {np.mean(value):.4f}" for name, value in logs.items())
        (speed, _), is_last = self.pace(step), step == self.num_steps or self.model.stop_training
        pace = f"{1000 / speed:.1f} ms/step  {(self.num_steps - step) / speed:.0f} s left"
        line = f"step {step}/{self.num_steps}  {values}  {pace}"
        if self.terminal:
            columns = os.get_terminal_size(sys.stdout.fileno()).columns or len(line) + 1  # 0 where it does not know
            line = "\r" + (line if is_last else line[: columns - 1]) + "\x1b[K"  # clears the rest
        self.unfinished, self.last_shown = self.terminal and not is_last, time.perf_counter()
        print(line, end="" if self.unfinished else "\n", flush=True)

    def close(self):
        """Ends the line of a terminal, also where an exception ends the training."""
        if self.unfinished:
            print()

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


def logged_step(line):
    """The step of a line of metrics.jsonl; `math.nan` itself for one that is damaged."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError):  # half a line, left by a crash, or damage
        return math.nan


class Board:
    """A file of events for TensorBoard, whose readers forget what older files say of the steps after `first_step`.

    There is one for each directory at a time, since readers follow the newest file only. It is made when it is first
    written to.
    """

    def __init__(self, directory, first_step):
        self.directory, self.first_step = directory, first_step

    @functools.cached_property
    def file(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        file = tf.io.TFRecordWriter(str(self.directory / f"events.out.tfevents.{time.time_ns()}"))
        session_log = tf.compat.v1.SessionLog
        start = {"step": self.first_step + 1, "session_log": session_log(status=session_log.START)}
        for content in ({"file_version": "brain.Event:2"}, start):
            file.write(_event(**content))
        return file

    def write(self, step, logs):
        """Scalars, dict name -> number."""
        self._add(step, [{"tag": name, "simple_value": number} for name, number in logs.items()])

    def write_picture(self, step, name, png):
        """The picture in a PNG file."""
        with PIL.Image.open(png) as image:
            width, height, channels = *image.size, len(image.getbands())
        content = {"width": width, "height": height, "colorspace": channels, "encoded_image_string": png.read_bytes()}
        self._add(step, [{"tag": name, "image": tf.compat.v1.Summary.Image(**content)}])

    def _add(self, step, values):
        summary = tf.compat.v1.Summary(value=[tf.compat.v1.Summary.Value(**value) for value in values])
        self.file.write(_event(step=step, summary=summary))
        self.file.flush()


def _event(**content):
    return tf.compat.v1.Event(wall_time=time.time(), **content).SerializeToString()


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


def shows_means(model):
    """Whether pictures of a model's samples show means in their place, of p(x|z) or of pixels given those before."""
    return model.data_name == "images" and getattr(model, "sample_mean", None) is not None


class Samples(_EverySteps):
    """Draws a picture of samples from the same seeds each time, of a conditional model a line for each class.

    Of images that are draws from a likelihood p(x|z) it shows the means.
    Points are drawn over as many test points, and kept as numbers too, step_NNNNNN.npy beside the picture, which
    TensorBoard gets as well.
    """

    NUM_POINTS = 2000
    acts_on_stop = False

    def __init__(self, *args, data, board):
        super().__init__(*args)
        self.data, self.board = data, board

    def on_train_begin(self, logs=None):
        self.num_classes = self.model.num_classes if self.model.conditional else None
        is_image = self.model.data_name == "images"
        num_rows = pictures.number_of_images(self.num_classes) if is_image else self.NUM_POINTS
        self.inputs = {"seeds": tf.range(num_rows, dtype=tf.int64)}
        if self.num_classes:
            self.inputs["label"] = tf.constant(pictures.labels_of(num_rows, self.num_classes), tf.int64)
        self.sample = graph(self.model.sample_mean if shows_means(self.model) else self.model.sample)

    def act(self, step, logs):
        with self.model.averaged():
            rows = self.sample(**self.inputs).numpy()
        file = self.path / "samples" / f"step_{step:06d}.png"
        with self.writing(step):
            pictures.picture(rows, file, self.num_classes, data=self.data.test[: self.NUM_POINTS])
            if rows.ndim == 2:
                write_atomically(file.with_suffix(".npy"), lambda path: _save(path, rows))
            self.board.write_picture(step, "samples", file)


class Translations(_EverySteps):
    """Draws a picture of held-out images, by threes: what the model is told, its translation, and the target."""

    NUM_ROWS, acts_on_stop = 24, False

    def __init__(self, *args, data, board):
        super().__init__(*args)
        self.images, self.board = data.test if len(data.test) else data.train, board

    def on_train_begin(self, logs=None):
        rows = tf.constant(self.images[: self.NUM_ROWS] / 255.0, tf.float32)
        self.translations = graph(lambda: self.model.translations(rows, tf.range(len(rows), dtype=tf.int64)))

    def act(self, step, logs):
        with self.model.averaged():
            kinds = [kind.numpy() for kind in self.translations()]
        file = self.path / "samples" / f"step_{step:06d}.png"
        with self.writing(step):
            pictures.beside(kinds, file)
            self.board.write_picture(step, "translations", file)


def _save(path, rows):
    with open(path, "wb") as file:  # `np.save` would give the name an ending, and an unclosed file forgets its errors
        np.save(file, rows)

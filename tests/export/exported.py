"""What the tests of exported models share: a model, its SavedModel in Python and without it, and rows to ask."""

import contextlib
import os
import shutil
import subprocess
import threading
import warnings
import weakref
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from common.files import locked
from export.saved_model import export_model
from zoo import MODELS

ROOT = Path(__file__).parents[2]
_loaded = weakref.WeakValueDictionary()
_read = tf.saved_model.load  # tests put `load` in its place


def load(path):
    """A SavedModel, which all share who ask. Versions in two folders may have one name: the time of their second."""
    path = os.path.abspath(path)
    model = _loaded[path] = _loaded.get(path) or _read(path)
    return model


# How far answers may differ whose graphs were rewritten otherwise: of log p(x), hundreds of nats, float32 knows 1e-5.
ROUNDED = 1e-5


class Sampler:
    """The smallest model, without a network: a subclass has `sample`, of a seed and where it has classes of a label."""

    num_classes = 0

    @property
    def specs(self):
        return {name: tf.TensorSpec([None], tf.int64) for name in ("seed", "label")[: 1 + bool(self.num_classes)]}

    def signatures(self):
        return {"sample": (self.sample, self.specs)}

    def before_export(self, results):
        return {}

    def get_config(self):
        return {"num_classes": self.num_classes} if self.num_classes else {}


def gan_of_points(**more):
    sizes = {"latent_size": 3, "generator_units": (16,), "discriminator_units": (16,)}
    return MODELS["gan"](data_shape=(2,), **sizes, **more)


class Loaded:
    """A SavedModel in Python, and rows to ask it with.

    Args:
        version: directory of a version.
        num_classes: int, of a conditional model.
    """

    def __init__(self, version, num_classes=0):
        self.version, self.num_classes = version, num_classes
        self.loaded = load(str(version))

    def specs(self, name):
        """Dict, input name -> `tf.TensorSpec`, of a signature."""
        return self.loaded.signatures[name].structured_input_signature[1]

    def call(self, name, inputs, optimised=True):
        """Answers, dict of arrays. Those of an optimised graph, as servers have it, may differ in their last bits."""
        with contextlib.nullcontext() if optimised else unoptimised():
            return {key: value.numpy() for key, value in self.loaded.signatures[name](**tensors(inputs)).items()}

    def rows(self, name, batch, rng):
        """Good rows of a signature's inputs, drawn by a numpy generator."""
        inputs = {}
        for key, spec in self.specs(name).items():
            shape = [batch, *spec.shape[1:]]
            if key == "seed":
                inputs[key] = rng.integers(-(2**63), 2**63 - 1, shape, endpoint=True)
            elif key == "label":
                inputs[key] = rng.integers(0, self.num_classes, shape)
            elif key.endswith("images") or key == "alpha":
                inputs[key] = rng.random(shape, np.float32)
            else:
                inputs[key] = rng.standard_normal(shape, np.float32)
        return inputs


class Exported(Loaded):
    """A model and its SavedModel, loaded in Python."""

    def __init__(self, model, directory, metadata=None, **options):
        version = export_model(model, directory, metadata=metadata or {}, **options)
        super().__init__(version, getattr(model, "num_classes", 0))
        self.model = model
        self.export_dir = directory
        (meta_graph,) = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs
        self.signature_def = {k: v for k, v in meta_graph.signature_def.items() if not k.startswith("__")}


@contextlib.contextmanager
def unoptimised():
    """Within this block graphs run as they are written. To optimise them, as servers do, takes most of a first call."""
    before = tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"]
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


def tensors(inputs):
    return {key: tf.constant(value) for key, value in inputs.items()}


def assert_same(answer, expected, tolerance=1e-6, pixel_tolerance=0):
    """Integers and strings exactly, floats to the tolerance; PNG files exactly, or pixel by pixel."""
    assert set(answer) == set(expected)
    for key, value in expected.items():
        assert answer[key].shape == value.shape and answer[key].dtype == value.dtype, key
        if value.dtype == object and pixel_tolerance:
            for pngs in zip(answer[key], value, strict=True):
                if pngs != (b"", b""):  # of a bad row
                    left, right = (tf.io.decode_png(png).numpy().astype(int) for png in pngs)
                    assert np.abs(left - right).max() <= pixel_tolerance
        elif value.dtype.kind == "f":
            np.testing.assert_allclose(answer[key], value, rtol=tolerance, atol=tolerance, err_msg=key)
        else:
            np.testing.assert_array_equal(answer[key], value, err_msg=key)


class Refused(ValueError):
    """A runtime's message in answer to a request that it does not serve."""


class InC:
    """A SavedModel that the C program serve.c has loaded, in a process of its own; one that has died is replaced."""

    def __init__(self, program, version):
        self.command, self.lock = [program, version], threading.Lock()
        self.start()

    def start(self):
        quiet, pipes = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, dict.fromkeys(["stdin", "stdout", "stderr"], -1)
        self.process = subprocess.Popen(self.command, env=quiet, **pipes)

    def run(self, name, inputs):
        """Answers to one request, dict of arrays; raises `Refused` or, where the process has died, EOFError."""
        with self.lock:
            return self._run(name, inputs)

    def _run(self, name, inputs):
        to, back = self.process.stdin, self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            to.write(f"{name} {len(inputs)}\n".encode())
            for key, value in inputs.items():
                value = np.asarray(value)
                header = [key, tf.as_dtype(value.dtype).as_datatype_enum, value.ndim, *value.shape]
                to.write(" ".join(map(str, header)).encode() + b"\n")
                if value.dtype == object:
                    to.write(b"".join(len(text).to_bytes(8, "little") + text for text in value.ravel()))
                else:
                    to.write(np.ascontiguousarray(value).tobytes())
            to.flush()
        kind, _, number = back.readline().decode().partition(" ")
        if not kind:
            _, errors = self.process.communicate()
            self.start()
            raise EOFError(errors.decode())
        if kind == "error":
            raise Refused(back.read(int(number)).decode())
        return dict(self._read_tensor() for _ in range(int(number)))

    def _read_tensor(self):
        back = self.process.stdout
        key, dtype, _, *shape = back.readline().decode().split()
        dtype, shape = tf.as_dtype(int(dtype)), [int(size) for size in shape]
        if dtype == tf.string:
            texts = [back.read(int.from_bytes(back.read(8), "little")) for _ in range(np.prod(shape, dtype=int))]
            return key, np.array(texts, object).reshape(shape)
        size = np.prod(shape, dtype=int) * dtype.size
        return key, np.frombuffer(back.read(size), dtype.as_numpy_dtype).reshape(shape)

    def close(self):
        """Ends the process, which must have nothing to complain about."""
        _, errors = self.process.communicate()
        assert self.process.returncode == 0, errors.decode()


class InSession:
    """What stands in for `InC` where there is no C compiler: the same loader in this process, but with XLA."""

    def __init__(self, exported):
        self.signature_def, self.session = exported.signature_def, tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            tf.compat.v1.saved_model.load(self.session, ["serve"], str(exported.version))

    def run(self, name, inputs):
        try:
            signature = self.signature_def[name]
            if set(inputs) != set(signature.inputs):
                raise ValueError(f"{name} takes {', '.join(signature.inputs)} as inputs")
            feeds = {signature.inputs[key].name: np.asarray(value) for key, value in inputs.items()}
            return self.session.run({key: info.name for key, info in signature.outputs.items()}, feeds)
        except (KeyError, ValueError, TypeError, tf.errors.OpError) as error:
            raise Refused(str(error)) from error

    def close(self):
        pass


def compile_program(directory):
    """The program of serve.c, or None where there is no compiler. Processes that share a directory compile it once."""
    compiler = shutil.which("gcc")
    if not compiler:
        warnings.warn("there is no gcc: TensorFlow 1's session stands in for the C program", stacklevel=2)
        return None
    program = Path(directory) / "serve"
    library = Path(tf.sysconfig.get_lib())
    options = [f"-I{library / 'include'}", f"-L{library}", f"-Wl,-rpath,{library}"]
    options += ["-O1", "-Wall", "-Wextra", "-Werror"]
    options += ["-fuse-ld=gold"] * bool(shutil.which("ld.gold"))  # it reads that large library in a quarter of the time
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    with locked(directory):
        if not program.exists():
            source = Path(__file__).with_name("serve.c")
            subprocess.run([compiler, source, *options, *libraries, "-o", program], check=True)
    return program

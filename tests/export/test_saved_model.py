"""Exported models: what they answer to good rows and bad, and in a process without the zoo."""

import base64
import hashlib
import inspect
import itertools
import json
import re
import runpy
import shutil
import subprocess
import sys
import urllib.request

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

from common import pictures
from export import gate, sample
from export.saved_model import by_row, export_model, trace
from tests.export.exported import Exported, Sampler, assert_same, gan_of_points, tensors
from tests.export.servers import GrpcServer, Models, RestServer
from tests.mistakes import mistake
from zoo import MODELS
from zoo.serving import encode_png

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("loaded_once")]  # four exports
BATCH = 6


class Conditional(Sampler):
    """An image is its noise, brighter for higher labels."""

    num_classes = 3

    def __init__(self):
        self.brightness = tf.Variable([0.1, 0.4, 0.7])

    def sample(self, seed, label):
        """One row of |noise| per seed and label."""
        noise = tf.cast(tf.abs(seed) % 5, tf.float32) / 20.0
        return tf.tile((noise + tf.gather(self.brightness, label))[:, None, None, None], [1, 2, 2, 1])

    def signatures(self):
        return {
            "sample": (lambda **inputs: {"images": self.sample(**inputs)}, self.specs),
            "sample_png": (lambda **inputs: {"image_bytes": encode_png(self.sample(**inputs))}, self.specs),
        }


MAKE = {
    "conditional": Conditional,
    "vae": lambda: MODELS["vae"](data_shape=(8, 8, 1), hidden_units=(16,), latent_size=4, log_prob_samples=5),
    "gan": gan_of_points,
    "cgan": lambda: MODELS["cgan"](
        data_shape=(8, 8, 3), num_classes=3, network="convolutional", filters=4, latent_size=5
    ),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    evaluation = {"command": "measure it", "results": {"fid": {"value": 1.5}}}
    metadata = {"dataset": "toy", "evaluation": evaluation}
    return {name: Exported(make(), tmp_path_factory.mktemp(name), metadata=metadata) for name, make in MAKE.items()}


@pytest.fixture(params=MAKE)
def one(request, exported):
    return exported[request.param]


def good_inputs(one, name):
    return one.rows(name, BATCH, np.random.default_rng(0))


def seeds(one, num):
    """The first seeds, of the first class where the model has classes."""
    return {"seed": np.arange(num), **({"label": np.zeros(num, int)} if one.num_classes else {})}


def test_the_default_and_the_attributes_are_the_signatures(one):
    assert set(one.signature_def) == {"serving_default", *one.model.signatures()}
    assert_same(one.call("serving_default", seeds(one, BATCH)), one.call("sample", seeds(one, BATCH)), 0)
    for name in one.model.signatures():
        inputs = good_inputs(one, name)
        answer = {key: value.numpy() for key, value in getattr(one.loaded, name)(**tensors(inputs)).items()}
        assert_same(answer, one.call(name, inputs))


BAD = {
    "label": [-1, 3, 2**62],
    "images": [np.nan, np.inf, -np.inf, -0.1, 1.1],
    **{name: [np.nan, np.inf, -np.inf] for name in ("z", "z_from", "z_to", "alpha", "points")},
}


def test_a_bad_row_is_blank_and_spoils_no_other(one):
    good = np.array([True, False, True, True, False, True])
    for name in one.model.signatures():
        clean = good_inputs(one, name)
        expected = {key: value[good] for key, value in one.call(name, clean).items()}
        for key in set(clean) & set(BAD):
            for bad in BAD[key]:
                inputs = {k: v.copy() for k, v in clean.items()}
                inputs[key].reshape(BATCH, -1)[~good, -1] = bad
                answer = one.call(name, inputs)
                np.testing.assert_array_equal(answer["valid"], good)
                assert_same({k: v[good] for k, v in answer.items()}, expected, 0)  # bit for bit
                assert not any(value[~good].any() for value in answer.values())  # zeros, False and empty strings


def test_pixels_may_be_outside_by_a_rounding(exported):
    edges = np.random.default_rng(0).integers(0, 2, [BATCH, 8, 8, 1]).astype(np.float32)
    answer = exported["vae"].call("encode", {"images": edges + np.float32(9e-4) * (2 * edges - 1)})
    assert_same(answer, exported["vae"].call("encode", {"images": edges}), 0)


def test_a_request_of_the_wrong_shape_is_refused(exported):
    for width, shape in ((4, [1]), (4, [3, 1]), (5, [3])):  # the first would broadcast
        inputs = {name: np.zeros([3, width], "f") for name in ("z_from", "z_to")} | {"alpha": np.zeros(shape, "f")}
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
            exported["vae"].call("interpolate", inputs)


def test_the_checkpoint_holds_the_weights_that_are_read(exported):
    model = gan_of_points()
    for signatures, networks in [(None, 2), (["decode"], 1)]:
        version = export_model(model, exported["gan"].export_dir / "parts", metadata={}, signatures=signatures)
        shapes = tf.train.load_checkpoint(str(version / "variables" / "variables")).get_variable_to_shape_map()
        assert len(shapes) == 1 + 4 * networks
    assert set(tf.saved_model.load(str(version)).signatures) == {"serving_default", "sample", "decode"}
    with mistake("no signature encode, image; it has sample"):
        export_model(model, exported["gan"].export_dir / "parts", metadata={}, signatures=["encode", "image"])


def test_weights_bear_their_names_and_the_same_bytes_whatever_their_order(exported, tmp_path, monkeypatch):
    files, variables = [], FuncGraph.variables.fget
    for order in (1, -1):
        turned = property(lambda graph: variables(graph)[::order], FuncGraph.variables.fset)
        monkeypatch.setattr(FuncGraph, "variables", turned)
        version = export_model(exported["vae"].model, tmp_path, metadata={})
        files.append([file.read_bytes() for file in sorted((version / "variables").iterdir())])
    assert files[0] == files[1] and len(files[0]) == 2
    names = {name for name, _ in tf.train.list_variables(str(version / "variables" / "variables"))}
    parts = map("/".join, itertools.product(["encoder", "decoder"], ["dense", "dense_1"], ["kernel", "bias"]))
    assert {f"weights/{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in parts} == names - {"_CHECKPOINTABLE_OBJECT_GRAPH"}


def test_a_signature_that_is_a_method_has_its_description(core):
    metadata = json.loads((core.version / "assets.extra" / "metadata.json").read_text())
    for name, signature in metadata["signatures"].items():
        if hasattr(core.model, name) and (documentation := inspect.getdoc(getattr(core.model, name))):
            assert documentation.startswith(signature["description"])


def test_a_diverged_model_is_not_published(tmp_path):
    model = Conditional()
    model.brightness.assign([0.0, np.nan, 0.0])
    with pytest.raises(gate.GateError, match="weight Variable is not finite"):
        export_model(model, tmp_path, metadata={})
    assert not list(tmp_path.iterdir())


def test_metadata(one):
    metadata = json.loads((one.version / "assets.extra" / "metadata.json").read_text())
    assert metadata["dataset"] == "toy"
    for name, signature in one.signature_def.items():
        for side in ("inputs", "outputs"):
            assert metadata["signatures"][name][side] == {
                key: {"dtype": tf.as_dtype(info.dtype).name, "shape": tf.TensorShape(info.tensor_shape).as_list()}
                for key, info in getattr(signature, side).items()
            }
        assert metadata["signatures"][name]["description"].endswith(".")
    answer = one.call("sample", seeds(one, 4))
    rows = answer.get("images", answer.get("points"))
    exact = np.round(255 * rows).astype(np.uint8) if rows.ndim == 4 else rows
    for described, row, row_exact in zip(metadata["samples"]["rows"], rows, exact, strict=True):
        assert described["mean"] == pytest.approx(row.mean(), abs=1e-3)
        assert described["sha256"] == hashlib.sha256(row_exact.tobytes()).hexdigest()


def test_card(one, monkeypatch, tmp_path):
    card = (one.export_dir / "README.md").read_text()
    assert card == (one.version / "assets.extra" / "README.md").read_text()
    assert "None" not in card and "on toy" in card and "| fid | value 1.5 |" in card
    for name in one.signature_def:
        assert f"| `{name}` |" in card
    in_python, attributes, _ = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    (tmp_path / "snippet.py").write_text(in_python + attributes)
    monkeypatch.chdir(one.export_dir)
    scope = runpy.run_path(str(tmp_path / "snippet.py"))
    for key, value in one.call("sample", seeds(one, 4)).items():
        if key != "valid":
            np.testing.assert_array_equal(scope[key], value)
    for name, (_, specs) in one.model.signatures().items():
        zeros = {key: np.zeros([4, *spec.shape[1:]], spec.dtype.as_numpy_dtype) for key, spec in specs.items()}
        answer = one.call(name, zeros)
        assert any(np.array_equal(scope[name], value) for key, value in answer.items() if key != "valid"), name


def test_requests_in_the_card(one):
    """The bodies of its curl commands, and its gRPC."""
    card = (one.export_dir / "README.md").read_text()
    models, expected = Models({"generator": [one]}), one.call("sample", seeds(one, 3))
    name = next(iter(set(expected) - {"valid"}))
    with RestServer(models) as server:
        requests = re.findall(r"curl -d '(.*?)' http://localhost:8501(\S+)", card)
        assert len(requests) == 1 + ("sample_png" in one.signature_def)
        for body, path in requests:
            with urllib.request.urlopen(server.address + path, body.encode()) as response:
                rows = json.load(response)["predictions"]
            rows = [row[next(iter(set(row) & {name, "image_bytes"}))] if "label" in body else row for row in rows]
            if "sample_png" in body:
                pixels = np.array([tf.io.decode_png(base64.b64decode(row["b64"])) for row in rows])
                np.testing.assert_allclose(pixels, 255 * expected[name], atol=0.51)
            else:
                np.testing.assert_allclose(rows, expected[name], atol=1e-6)
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    with GrpcServer(models) as server:
        scope = {}
        exec(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[2].replace("localhost:8500", server.address), scope)
    np.testing.assert_allclose(scope[name], expected[name], atol=1e-6)


WITHOUT_ZOO = """
import sys
sys.modules.update(dict.fromkeys(["zoo", "keras", "tensorflow_probability"]))  # importing them fails
from export import sample
sample.main(["sample", *sys.argv[1:]])
assert {name for name in sys.modules if name.startswith("trainers")} == set()
"""


def test_sampling_without_the_zoo(exported, tmp_path):
    one, out = exported["vae"], tmp_path / "new" / "grid.png"
    command = [f"--model_dir={one.export_dir}", "--num=10", "--seed=100", f"--out={out}"]
    subprocess.run([sys.executable, "-c", WITHOUT_ZOO, *command], check=True)
    pictures.grid(one.call("sample_mean", {"seed": np.arange(100, 110)})["images"], tmp_path / "here.png")
    assert out.read_bytes() == (tmp_path / "here.png").read_bytes()
    pictures.grid(one.model.sample_mean(tf.range(100, 110, dtype=tf.int64)), tmp_path / "model.png")
    model_pixels, pixels = (np.asarray(PIL.Image.open(path)).astype(int) for path in (tmp_path / "model.png", out))
    assert np.abs(model_pixels - pixels).max() <= 1  # a rounding, where another order of sums crosses it


def test_sampling_a_class(exported):
    one = exported["conditional"]
    expected = one.model.sample(tf.range(10, 20, dtype=tf.int64), tf.fill([10], 2))
    np.testing.assert_allclose(sample.draw(one.version, num=10, seed=10, label=2), expected, rtol=0, atol=1e-6)
    for label in (3, -1):
        with mistake(f"--label={label} is not a class"):
            sample.draw(one.version, num=10, seed=10, label=label)


@pytest.mark.parametrize("num, columns", [(None, 8), (9, 3), (300, 18)])
def test_sampling_each_class_in_lines_of_its_own(exported, tmp_path, monkeypatch, num, columns):
    """300 of 3 classes are 18 to a line, and more than a batch; without a number it is 24, 8 to a line."""
    one, out = exported["conditional"], tmp_path / "grid.png"
    flags = [f"--model_dir={one.export_dir}", "--seed=10", f"--out={out}"] + ([f"--num={num}"] if num else [])
    sample.main(["sample", *flags])
    num = num or 24
    labels = np.arange(num) // columns % 3
    expected = one.model.sample(tf.range(10, 10 + num, dtype=tf.int64), tf.constant(labels))
    np.testing.assert_allclose(sample.draw(one.version, num=num, seed=10), expected, rtol=0, atol=1e-6)
    pictures.grid(expected, tmp_path / "expected.png", columns=columns)
    assert out.read_bytes() == (tmp_path / "expected.png").read_bytes()
    sample.main(["sample", *flags, "--label=1"])
    pictures.grid(sample.draw(one.version, num=num if num != 24 else 64, seed=10, label=1), tmp_path / "expected.png")
    assert out.read_bytes() == (tmp_path / "expected.png").read_bytes()


@pytest.mark.parametrize("metadata", [None, "damaged", "{}", "[]", '{"config": 7}', '{"config": {}}'])
def test_a_conditional_model_that_does_not_say_its_classes(exported, tmp_path, metadata):
    version = shutil.copytree(exported["conditional"].version, tmp_path / "version")
    file = version / "assets.extra" / "metadata.json"
    file.unlink() if metadata is None else file.write_text(metadata)
    with mistake("--label is missing: ", "version does not say which classes"):
        sample.main(["sample", f"--model_dir={version}", f"--out={tmp_path / 'grid.png'}"])
    assert len(sample.draw(version, num=3, seed=0, label=2)) == 3


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_an_answer_that_is_not_finite_is_blank(dtype):
    specs = {"points": tf.TensorSpec([None, 2], dtype), "seed": tf.TensorSpec([None], tf.int64)}

    def answer_to(points, seed):
        return {"z": tf.exp(points), "seed": seed, "text": tf.as_string(seed)}

    function = tf.function(by_row(answer_to, specs))
    answer = function(points=tf.constant([[0, 0], [0, 300], [0, 0]], dtype), seed=tf.constant([7, 8, 9], tf.int64))
    assert answer["valid"].numpy().tolist() == [True, False, True]
    assert tf.cast(answer["z"], tf.float32).numpy().tolist() == [[1, 1], [0, 0], [1, 1]]
    assert answer["seed"].numpy().tolist() == [7, 0, 9]
    assert answer["text"].numpy().tolist() == [b"7", b"", b"9"]


def test_pixels_of_any_input_of_images_are_in_their_range():
    """Such as those of a signature that takes two images."""
    specs = {f"{name}_images": tf.TensorSpec([None, 1, 1, 1]) for name in ("style", "content")}
    function = by_row(lambda style_images, content_images: {"images": style_images + content_images}, specs)
    pixels = tf.reshape(tf.constant([0.5, 1.0005, 1.1]), [3, 1, 1, 1])
    answer = function(style_images=pixels, content_images=tf.zeros_like(pixels))
    assert np.ravel(answer["images"]).tolist() == [0.5, 1.0, 0.0] and answer["valid"].numpy().tolist() == [1, 1, 0]


def test_of_no_rows_a_convolution_answers_none():
    kernel, specs = tf.ones([3, 3, 2, 5]), {"images": tf.TensorSpec([None, 8, 8, 2])}
    function = tf.function(by_row(lambda images: {"y": tf.nn.conv2d(images, kernel, 2, "SAME")}, specs))
    for rows in (0, 3):
        answer = function(images=tf.ones([rows, 8, 8, 2]))
        assert answer["y"].shape == [rows, 4, 4, 5] and answer["valid"].numpy().tolist() == rows * [True]


def test_large_finite_numbers_are_good():
    """Their sum overflows."""
    function = tf.function(by_row(lambda z: {"points": z}, {"z": tf.TensorSpec([None, 2])}))
    x = np.array([[3e38, 3e38], [np.inf, -np.inf], [-3e38, 1.0]], np.float32)
    answer = function(z=tf.constant(x))
    np.testing.assert_array_equal(answer["points"], [x[0], [0, 0], x[2]])
    assert answer["valid"].numpy().tolist() == [True, False, True]
    answer = function(z=tf.constant(x[[0, 2]]))
    np.testing.assert_array_equal(answer["points"], x[[0, 2]])
    assert answer["valid"].numpy().all()


def test_what_signatures_share_is_traced_once(monkeypatch):
    model, decode, calls = gan_of_points(), MODELS["gan"].decode, []
    monkeypatch.setattr(MODELS["gan"], "decode", lambda self, z: calls.append(1) or decode(self, z))
    assert {"sample", "decode", "interpolate"} <= set(trace(model)) and len(calls) == 1
    assert "decode" not in vars(model)  # afterwards it is the method that it was

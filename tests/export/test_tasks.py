"""Walks in the latent space of a linear model, whose every picture is known, on the disk and behind both servers."""

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from common import pictures
from export import client, commands, runtimes, sample, servers, tasks
from export.saved_model import export_model
from tests.export.exported import Exported
from tests.export.servers import GrpcServer, Models, RestServer, needs_grpc
from tests.mistakes import mistake
from zoo.game import Game
from zoo.parts import distributions

pytestmark = pytest.mark.usefixtures("loaded_once")
W = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], np.float32) / 2  # its own inverse
UNIT = np.array([1, 0, 0, 0]).reshape(2, 2, 1)


class Linear(Game):
    """x = 1/2 + z W / 20 + label / 50. What is encoded with a seed s is decoded as x + s UNIT / 100."""

    latent_prior = distributions.PRIORS["normal"]
    latent_size = 4
    encoder_takes_label = False

    def __init__(self, *, data_shape=(2, 2, 1), seed=0, name=None):
        super().__init__(locals())

    def make_networks(self):
        self.W = self.add_weight(shape=(4, 4), name="W")
        self.W.assign(W)

    def decode(self, z, label=0):
        """Affine in z."""
        x = 0.5 + tf.matmul(z, self.W) / 20.0 + tf.reshape(tf.cast(label, tf.float32), [-1, 1]) / 50.0
        return tf.reshape(x, [-1, *self.data_shape])

    def encode(self, x, seed, label=0):
        """The inverse, off by an amount that grows with the seed."""
        x = tf.reshape(x, [-1, 4]) - 0.5 - tf.reshape(tf.cast(label, tf.float32), [-1, 1]) / 50.0
        return {"z": 20.0 * tf.matmul(x, self.W) + 0.1 * tf.cast(seed, tf.float32)[:, None]}

    def inpaint(self, x, known, seed, label=0):
        """What is missing has the mean 1/4 + label / 50; a draw with a seed s has s / 100 more."""
        mean = 0.25 + tf.zeros_like(x) + tf.reshape(tf.cast(label, tf.float32), [-1, 1, 1, 1]) / 50.0
        draw = mean + tf.cast(seed, tf.float32)[:, None, None, None] / 100.0
        return tf.where(known, x, draw), tf.where(known, x, mean)

    def signatures(self):
        specs = {**self.data_spec, "seed": tf.TensorSpec([None], tf.int64)}
        specs |= self.label_spec if self.encoder_takes_label else {}
        encode = lambda **inputs: self.encode(inputs.pop(self.data_name), **inputs)  # noqa: E731
        inpaint = self.inpaint_signature() if self.data_name == "images" else {}
        return {**super().signatures(), "encode": (encode, specs), **inpaint}


class Labelled(Linear):
    conditional = True
    num_classes = 3
    encoder_takes_label = True

    def get_config(self):
        return {"num_classes": 3}


class DecoderOfLabels(Labelled):
    encoder_takes_label = False


class Translator(Linear):
    """Of x the condition 1 - x, and the translation x / 2 + s / 100 for a seed s."""

    sample = None

    def translate(self, x, seed):
        return {"images": x / 2.0 + tf.cast(seed, tf.float32)[:, None, None, None] / 100.0, "condition_images": 1.0 - x}

    def signatures(self):
        return {"translate": (lambda images, seed: self.translate(images, seed), {**self.data_spec, **self.seed_spec})}


MAKE = {
    "linear": Linear,
    "translator": Translator,
    "labelled": Labelled,
    "decoder_of_labels": DecoderOfLabels,
    "points": lambda: Linear(data_shape=(4,)),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return {name: Exported(make(), tmp_path_factory.mktemp(name)) for name, make in MAKE.items()}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Exports of some signatures only: export directories by name."""
    signatures = {"generator_before_latent": ["decode", "interpolate"], "encoder": ["encode"]}
    return {
        name: export_model(Linear(), tmp_path_factory.mktemp(name), metadata={}, signatures=names).parent
        for name, names in signatures.items()
    }


@pytest.fixture(scope="module", params=["disk", "rest", pytest.param("grpc", marks=needs_grpc)])
def place(request, exported):
    """Where the models are: a command's main and flags by a model's name, and a runtime by its name."""
    if request.param == "disk":

        def run(name, *flags):
            sample.main(["sample", f"--model_dir={exported[name].export_dir}", *map(str, flags)])

        yield run, lambda name: runtimes.Local(exported[name].version, sample.classes_of(exported[name].version))
        return
    kind, runtime = {"rest": (RestServer, servers.Rest), "grpc": (GrpcServer, servers.Grpc)}[request.param]
    with kind(Models({name: [one] for name, one in exported.items()})) as server:

        def run(name, *flags):
            client.main(["client", f"--server={server.address}", f"--model={name}", "--batch_size=5", *map(str, flags)])

        yield run, lambda name: runtime(server.address, name, batch=5)


@pytest.fixture
def run(place):
    return place[0]


@pytest.fixture
def open_model(place):
    return place[1]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def drawn(name, exported, first, num, label=None):
    labels = {} if label is None else {"label": np.full(num, label)}
    return exported[name].call("sample", {"seed": np.arange(first, first + num), **labels})["images"]


def walks(starts, ends, num=8):
    """Straight lines in the space of data, as a linear decoder makes them of straight lines between latents."""
    return np.stack([np.linspace(start, end, num) for start, end in zip(starts, ends, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("name, label", [("linear", None), ("labelled", None), ("labelled", 2)])
def test_lines_run_from_the_sample_of_a_seed_to_that_of_the_next_in_one_class(exported, open_model, name, label):
    model, samples = open_model(name), drawn(name, exported, 7, 6, None if name == "linear" else 0)
    ends = model.ask("latent", {"seed": np.arange(7, 13)})["z"]
    assert_close(20.0 * (samples.reshape(6, 4) - 0.5) @ W, ends)
    classes = [0] * 5 if name == "linear" else [0, 1, 2, 0, 1] if label is None else [label] * 5
    lines = walks(samples[:-1], samples[1:]) + np.reshape(classes, [5, 1, 1, 1, 1]) / 50
    assert_close(tasks.between(model, ends, 8, label), lines)


def groups_of_images(*sizes):
    """Random images for which no latent that the tests decode leaves the range of pixels."""
    rng = np.random.default_rng(0)
    return [rng.uniform(0.4, 0.6, [size, 2, 2, 1]).astype(np.float32) for size in sizes]


def sums(a, b, c, num):
    """What a linear model makes of the arithmetic: that of the images themselves."""
    ends = [group.mean(axis=0) for group in (a, b, c)]
    step = (ends[0] - ends[1]) / 4
    return [np.stack([*ends, ends[2] + 4 * step]), *(np.stack([x + k * step for k in range(7)]) for x in c[:num])]


def encoded(rows, seed):
    """What a linear model decodes where it has encoded rows with the seeds from `seed` on."""
    return rows + (seed + np.arange(len(rows)))[:, None, None, None] * UNIT / 100


@pytest.mark.parametrize("name, label, seed", [
    ("linear", None, 0), ("linear", None, -5), ("labelled", 2, 0), ("decoder_of_labels", 2, 0),
])  # fmt: skip
def test_arithmetic_is_that_of_the_means(open_model, name, label, seed):
    groups = groups_of_images(3, 7, 2)
    a, b, c = np.split(encoded(np.concatenate(groups), seed), [3, 10])
    found, expected = tasks.combine(open_model(name), groups, 8, seed, label), sums(a, b, c, 8)
    assert [line.shape for line in found] == [(4, 2, 2, 1), (7, 2, 2, 1), (7, 2, 2, 1)]
    for line, truth in zip(found, expected, strict=True):  # of an encoder without classes class 2 is brighter
        assert_close(line, truth + (2 / 50 if name == "decoder_of_labels" else 0))


def tiles(path):
    """The images of a grid of 2x2 images, [lines, columns, 2, 2, 1], uint8."""
    pixels, step = np.asarray(PIL.Image.open(path)), pictures.SMALLEST_TILE + pictures.GAP
    lines, columns = (size // step for size in pixels.shape)
    pixels = pixels[pictures.GAP :, pictures.GAP :].reshape(lines, step, columns, step)[:, :64:32, :, :64:32]
    return pixels.transpose(0, 2, 1, 3)[..., None]


def assert_picture(path, lines):
    """Of lines of images; the last images of some lines are blank."""
    found = tiles(path)
    assert len(found) == len(lines)
    for shown, line in zip(found, lines, strict=True):
        np.testing.assert_allclose(shown[: len(line)], 255 * np.asarray(line), atol=0.502)
        assert (shown[len(line) :] == 255).all()


@pytest.mark.slow
@pytest.mark.parametrize("name, flags, num", [
    ("linear", [], 8),
    ("linear", ["--num=3", "--seed=9000000000"], 3),
    ("labelled", [], 3),
    ("labelled", ["--num=4", "--label=1"], 4),
])  # fmt: skip
def test_interpolate_between_seeds(exported, run, name, flags, num, tmp_path, capsys):
    out = tmp_path / "new" / "lines.png"
    run(name, "--task=interpolate", *flags, f"--out={out}")
    assert capsys.readouterr().out == f"{out}\n"
    label = None if name == "linear" else 0
    samples = drawn(name, exported, 9000000000 if num == 3 and name == "linear" else 0, num + 1, label)
    classes = [1] * num if "--label=1" in flags else range(num) if name == "labelled" else [0] * num
    assert_picture(out, walks(samples[:-1], samples[1:]) + np.reshape(classes, [num, 1, 1, 1, 1]) / 50)


@pytest.fixture
def folders(tmp_path):
    """Three groups of images, as folders of pictures and a file: dict, name -> (path, what is in it)."""
    found = {}
    for name, images in zip("ABC", groups_of_images(2, 3, 10), strict=True):
        found[name] = tmp_path / name, np.round(255 * images).astype(np.float32) / 255
        found[name][0].mkdir()
        for i, image in enumerate(np.round(255 * images[..., 0]).astype(np.uint8)):
            PIL.Image.fromarray(image).save(found[name][0] / f"{i:02}.png")
    np.save(tmp_path / "B.npy", found["B"][1])
    return found | {"B": (tmp_path / "B.npy", found["B"][1])}


@pytest.mark.slow
def test_interpolate_between_pictures(run, folders, tmp_path):
    out, (path, images) = tmp_path / "lines.png", folders["C"]
    run("linear", "--task=interpolate", f"--data={path}", "--seed=3", f"--out={out}")
    ends = encoded(images, 3)
    assert_picture(out, walks(ends[:-1], ends[1:]))
    run("labelled", "--task=interpolate", f"--data={path / '03.png'},{path / '01.png'}", "--label=2", f"--out={out}")
    assert_picture(out, walks([images[3]], [images[1] + UNIT / 100]))


def test_pictures_beside_their_conditions_and_translations(run, folders, tmp_path):
    out, (path, images) = tmp_path / "translations.png", folders["C"]
    run("translator", "--task=translate", f"--data={path}", "--seed=3", f"--out={out}")
    made = images / 2 + (3 + np.arange(len(images)))[:, None, None, None] / 100
    together, columns = np.concatenate(np.stack([images, 1 - images, made], axis=1)), tiles(out).shape[1]
    assert columns % 3 == 0
    assert_picture(out, np.split(together, range(columns, len(together), columns)))


@pytest.mark.parametrize("num", [None, 3, 20])
def test_arithmetic_of_pictures(run, folders, num, tmp_path):
    out, flags = tmp_path / "sums.png", [f"--num={num}"] if num else []
    run("linear", "--task=arithmetic", f"--data={','.join(str(folders[g][0]) for g in 'ABC')}", f"--out={out}", *flags)
    a, b, c = np.split(encoded(np.concatenate([folders[g][1] for g in "ABC"]), 0), [2, 5])
    lines = sums(a, b, c, num or 8)
    assert len(lines) == 1 + {None: 8, 3: 3, 20: 10}[num] and tiles(out).shape[1] == 7
    assert_picture(out, lines)


@pytest.mark.parametrize("name, flags, half, seed, num", [
    ("linear", [], np.s_[1:], None, 6),
    ("linear", ["--draws", "--num=2", "--seed=5", "--missing=left"], np.s_[:, :1], 5, 2),
    ("labelled", ["--label=2", "--missing=upper"], np.s_[:1], None, 6),
    ("linear", ["--missing=right"], np.s_[:, 1:], None, 6),
])  # fmt: skip
def test_halves_of_pictures_are_completed(run, folders, name, flags, half, seed, num, tmp_path):
    out, (path, images) = tmp_path / "completed.png", folders["A"]
    run(name, "--task=inpaint", f"--data={path}", f"--out={out}", *flags)
    lines = np.stack([images] * (num + 2), axis=1)
    lines[:, 1][np.s_[:, *np.index_exp[half]]] = 0.5
    drawn = 0 if seed is None else (seed + np.arange(2 * num).reshape(2, num)) / 100
    for line, more in zip(lines, np.broadcast_to(drawn, [2, num]), strict=True):
        for image, extra in zip(line[2:], more, strict=True):
            image[half] = 0.25 + extra + (2 / 50 if name == "labelled" else 0)
    assert_picture(out, lines)


@pytest.mark.slow
def test_points_are_paths_in_a_scatter_plot(open_model, run, tmp_path):
    model, files = open_model("points"), [tmp_path / f"{name}.npy" for name in "ABC"]
    groups = [group.reshape(-1, 4) for group in groups_of_images(2, 3, 2)]
    for file, group in zip(files, groups, strict=True):
        np.save(file, group)
    ends = model.ask("latent", {"seed": np.arange(9)})["z"]
    paths = tasks.between(model, ends, commands.POINTS_OF_A_PATH)
    samples = model.ask("sample", {"seed": np.arange(9)})["points"]
    assert_close(paths, walks(samples[:-1], samples[1:], commands.POINTS_OF_A_PATH))
    walked = tasks.between(model, tasks.latents(model, groups[1]), commands.POINTS_OF_A_PATH)
    for flags, lines, data in [([], paths, None), ([f"--data={files[1]}"], walked, groups[1])]:
        run("points", "--task=interpolate", *flags, f"--out={tmp_path / 'found.png'}")
        pictures.lines(lines, tmp_path / "expected.png", data)
        assert (tmp_path / "found.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    run("points", "--task=arithmetic", f"--data={','.join(map(str, files))}", f"--out={tmp_path / 'found.png'}")
    pictures.lines(tasks.combine(model, groups, 8), tmp_path / "expected.png", np.concatenate(groups))
    assert (tmp_path / "found.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name, flags, message", [
    ("generator_before_latent", ["--task=arithmetic", "--data={A},{B},{C}"], "no signature named encode"),
    ("generator_before_latent", ["--task=interpolate", "--data={C}"], "no signature named encode"),
    ("encoder", ["--task=arithmetic", "--data={A},{B},{C}"], "no signature named decode"),
    ("encoder", ["--task=interpolate"], "no signature named interpolate"),
    ("generator_before_latent", ["--task=interpolate"], "no signature named latent"),
    ("linear", ["--task=arithmetic"], "--task=arithmetic needs --data"),
    ("linear", ["--task=arithmetic", "--data={A},{B}"], "must name three groups for --task=arithmetic, A,B,C"),
    ("linear", ["--task=arithmetic", "--data={A},{B},{C},{C}"], "must name three groups"),
    ("linear", ["--task=arithmetic", "--data={A},{points},{C}"], "holds float64 (4, 2); the model takes"),
    ("linear", ["--task=arithmetic", "--data={A},{B},{nan}"], "invalid, counted from 0: 6"),
    ("linear", ["--task=arithmetic", "--data={A},{B},{C}", "--label=1"], "the signature decode takes no label"),
    ("labelled", ["--task=arithmetic", "--data={A},{B},{C}"], "--label is missing: the signature encode takes"),
    ("decoder_of_labels", ["--task=arithmetic", "--data={A},{B},{C}"], "--label is missing: the signature decode"),
    ("decoder_of_labels", ["--task=arithmetic", "--data={A},{B},{C}", "--label=3"], "--label=3 is not a class"),
    ("labelled", ["--task=interpolate", "--label=-1"], "--label=-1 is not a class"),
    ("labelled", ["--task=interpolate", "--data={C}"], "--label is missing: the signature encode takes"),
    ("linear", ["--task=interpolate", "--label=1"], "the signature interpolate takes no label"),
    ("linear", ["--task=interpolate", "--data={C}", "--num=3"], "--task=interpolate takes all of --data"),
    ("linear", ["--task=interpolate", "--data={one}"], "holds one row: a line needs two"),
    ("linear", ["--task=interpolate", "--seed=9223372036854775800"], "pass the largest seed"),
    ("points", ["--task=interpolate", "--data={C}"], "the model takes no pictures"),
    ("linear", ["--task=translate"], "--task=translate needs --data"),
    ("linear", ["--task=translate", "--data={C}"], "no signature named translate"),
    ("translator", ["--task=translate", "--data={C}", "--label=1"], "the signature translate takes no label"),
    ("linear", ["--task=inpaint"], "--task=inpaint needs --data"),
    ("linear", ["--task=inpaint", "--data={C}", "--missing=half"], "--missing=half"),
    ("linear", ["--missing=left"], "--missing=left is for --task=inpaint"),
    ("points", ["--task=inpaint", "--data={points}"], "no signature named inpaint"),
    ("labelled", ["--task=inpaint", "--data={C}"], "--label is missing: the signature inpaint takes"),
])  # fmt: skip
def test_mistakes(exported, parts, folders, name, flags, message, tmp_path):
    arrays = {"points": np.zeros([4, 2]), "one": np.zeros([1, 2, 2, 1]), "nan": np.zeros([3, 2, 2, 1])}
    arrays["nan"][1] = np.nan
    places = {key: path for key, (path, _) in folders.items()}
    for key, array in arrays.items():
        places[key] = tmp_path / f"{key}.npy"
        np.save(places[key], array)
    model_dir = parts.get(name) or exported[name].export_dir
    command = ["sample", f"--model_dir={model_dir}", f"--out={tmp_path / 'x.png'}", *flags]
    with mistake(message):
        sample.main([part.format(**places) for part in command])
    assert not (tmp_path / "x.png").exists()

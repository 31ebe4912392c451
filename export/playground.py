"""A page on which a person draws from a model, walks between latents, and asks it about pictures of their own.

python -m export.playground --model_dir=EXPORT_DIR [--port=7860]
python -m export.playground --server=http://HOST:8501 --model=NAME

It has what the model's signatures offer, and shows with each answer the requests that gave it, as TensorFlow Serving
takes them. It needs the package gradio: pip install "gradio>=6,<7", or the extra `playground`.
"""

import functools
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from absl import flags as absl_flags

from common import cli, image_files, pictures
from common import flags as common_flags
from export import client, sample, servers, tasks
from export.runtimes import Local
from export.transcript import Transcript, requests

REST = "http://localhost:8501"  # where a server answers unless it was told otherwise
EACH = "one for each line"  # of the classes
LARGEST_SEED = 2**53 - 1  # that a page's JavaScript tells from the next
STYLE = "img { image-rendering: pixelated }"


# --- What is asked ---------------------------------------------------------------------------------------------------


def draw_samples(model, seed, num, label, draws):
    return functools.partial(
        pictures.picture,
        tasks.draw(model, num, seed, label, means=not draws),
        num_classes=model.num_classes if label is None else None,
    )


def walk(model, seed, other_seed, alpha, label):
    """Shows the two ends, and what is between them."""
    z = model.ask("latent", {"seed": np.array([seed, other_seed], np.int64)})["z"]
    alphas = np.array([0.0, alpha, 1.0], np.float32)
    inputs = {"z_from": z[:1].repeat(3, axis=0), "z_to": z[1:].repeat(3, axis=0), "alpha": alphas}
    return functools.partial(pictures.lines, [tasks.generate(model, "interpolate", inputs, label)])


def reconstruct(model, picture, seed, label):
    data = read(model, "reconstruct", picture)
    answer = tasks.ask_about(model, "reconstruct", data, seed, label)
    return functools.partial(pictures.comparison, data, next(iter(answer.values())))


def translate(model, picture, seed, label):
    return functools.partial(pictures.beside, tasks.translate(model, read(model, "translate", picture), seed, label))


def complete(model, picture, missing, num, seed, label, draws):
    data = read(model, "inpaint", picture)
    return functools.partial(pictures.lines, tasks.complete(model, data, missing, num, seed, label, draws))


def read(model, name, picture):
    """A picture's file as a row of data of the signature `name`."""
    if picture is None:
        raise cli.UserError("There is no picture yet: choose or drop one.")
    return image_files.read([picture], model.signatures[name].inputs["images"]).images.astype(np.float32) / 255.0


# --- The page --------------------------------------------------------------------------------------------------------


class Page:
    """A Gradio page for a model.

    Args:
        model: `export.runtimes.Runtime`.
        name: str, its title.
        url: str, where a server answers for it.
        card: str, Markdown; empty where there is none.
        folder: path, for what the page lets people download.
    """

    def __init__(self, model, name, url, card, folder):
        self.model, self.url, self.folder = model, url, folder
        self.gr = gr = import_gradio()
        shapes = {key: signature.inputs.get("images", ()) for key, signature in model.signatures.items()}

        def asks(signature):
            return signature in model.signatures and len(shapes[signature]) == 3

        tabs = {
            "Samples": (self.samples, "sample" in model.signatures),
            "Walk": (self.walk, {"latent", "interpolate"} <= set(model.signatures)),
            "Reconstruct": (functools.partial(self.about, "reconstruct", reconstruct), asks("reconstruct")),
            "Translate": (functools.partial(self.about, "translate", translate), asks("translate")),
            "Complete": (self.complete, asks("inpaint")),
        }
        with gr.Blocks(title=name, analytics_enabled=False, delete_cache=(3600, 3600)) as self.blocks:
            gr.Markdown(f"# {name}")
            for title, (make, there) in tabs.items():
                if there:
                    with gr.Tab(title):
                        make()
            if card:
                with gr.Accordion("Model card", open=False):
                    gr.Markdown(card)

    def samples(self):
        gr = self.gr
        with gr.Row():
            seed = self.seed("Seed of the first")
            num = gr.Slider(1, 64, pictures.number_of_images(), step=1, label="How many")
            label, draws = self.label("sample", each=True), self.draws()
        self.answering(draw_samples, [seed, num, label, draws], gr.Button("Draw", variant="primary"), at_start=True)

    def walk(self):
        with self.gr.Row():
            ends = [self.seed("From seed"), self.seed("To seed", 1)]
            label = self.label("interpolate")
        alpha = self.gr.Slider(0, 1, 0, step=0.01, label="How far")
        self.answering(walk, [*ends, alpha, label], alpha, *ends, label, at_start=True)

    def about(self, name, function):
        picture, seed, label = self.picture(), self.seed(), self.label(name)
        button = self.gr.Button(name.capitalize(), variant="primary")
        self.answering(function, [picture, seed, label], button)

    def complete(self):
        gr = self.gr
        picture = self.picture()
        with gr.Row():
            missing = gr.Dropdown(list(tasks.MISSING), value="lower", label="Half to complete")
            num = gr.Slider(1, 14, pictures.COLUMNS - 2, step=1, label="How many completions")
            seed, label, draws = self.seed(), self.label("inpaint"), gr.Checkbox(False, label="Draws, not means")
        inputs = [picture, missing, num, seed, label, draws]
        self.answering(complete, inputs, gr.Button("Complete", variant="primary"))

    def seed(self, title="Seed", value=0):
        return self.gr.Number(value, label=title, precision=0, minimum=-LARGEST_SEED, maximum=LARGEST_SEED)

    def label(self, name, each=False):
        """A choice of classes, which is not shown where a signature takes none."""
        takes = "label" in self.model.signatures[name].inputs
        classes = list(range(self.model.num_classes or 0)) if takes else []
        choices = [(EACH, None)] * each + [(str(label), label) for label in classes]
        value = None if each or not classes else classes[0]
        return self.gr.Dropdown(choices, value=value, label="Class", visible=bool(classes))

    def draws(self):
        return self.gr.Checkbox(False, label="Draws, not means of pixels", visible=tasks.shows_means(self.model))

    def picture(self):
        return self.gr.Image(type="filepath", image_mode=None, sources=["upload", "clipboard"], label="Your picture")

    def answering(self, function, inputs, *triggers, at_start=False):
        """Shows what `function` makes of the inputs when a trigger is used, and the requests that this took."""
        gr = self.gr
        image = gr.Image(label="Answer", show_label=False, interactive=False, format="png")
        with gr.Accordion("The requests to a server"):
            files = gr.File(label="Bodies that are too long for a command", visible=False)
            shell = gr.Code(label="curl", language="shell", wrap_lines=True, lines=1)
            python = gr.Code(label="Python", language="python", wrap_lines=True, lines=1)

        def answer(*values):
            transcript = Transcript(self.model)
            try:
                if any(
                    isinstance(block, gr.Number) and value is None for block, value in zip(inputs, values, strict=True)
                ):
                    raise cli.UserError("A number is missing: give a whole one.")
                shown = picture_of(function(transcript, *values))
            except cli.UserError as error:
                raise gr.Error(str(error), print_exception=False) from error
            as_shell, as_python, bodies = requests(transcript.asked, self.url, tempfile.mkdtemp(dir=self.folder))
            return shown, as_shell, as_python, gr.File(list(map(str, bodies)), visible=bool(bodies))

        outputs = [image, shell, python, files]
        events = [trigger.click if isinstance(trigger, gr.Button) else trigger.change for trigger in triggers]
        events += [self.blocks.load] * at_start
        gr.on(events, answer, inputs, outputs, trigger_mode="always_last", show_progress_on=image)


def picture_of(write):
    """The picture that `write(path=...)` writes, as `PIL.Image.Image`."""
    with tempfile.TemporaryDirectory() as folder:
        write(path=Path(folder) / "answer.png")
        with PIL.Image.open(Path(folder) / "answer.png") as image:
            return image.convert("RGB")


def import_gradio():
    try:
        with cli.quiet():
            import gradio
    except ImportError as error:
        raise cli.UserError('the playground needs the package gradio: pip install "gradio>=6,<7".') from error
    return gradio


# --- The command -----------------------------------------------------------------------------------------------------


def find(flags):
    """The model that the flags name: (runtime, name, model card).

    Raises:
        UserError: unless they name just one, or if it can not be found.
    """
    if (flags.model_dir is None) == (flags.server is None):
        raise cli.UserError("give either --model_dir, an export directory, or --server, where a model is served.")
    if flags.server is not None:
        return client.connect(flags), flags.model, ""
    version = sample.find_version(flags.model_dir)
    folder = Path(flags.model_dir).resolve()
    folder = folder.parent if folder == version.resolve() else folder
    card = folder / "README.md"
    name = folder.parent.name if folder.name == "export" else folder.name
    return Local(version, sample.classes_of(version)), name, card.read_text() if card.exists() else ""


def main(argv):
    flags = absl_flags.FlagValues()
    common_flags.define_path(flags, "model_dir", None, "The export directory of a run, or one version in it.")
    client.define_server(flags)
    absl_flags.DEFINE_string("host", "127.0.0.1", "The address to listen at; 0.0.0.0 for all.", flag_values=flags)
    absl_flags.DEFINE_integer("port", 7860, "Its port.", lower_bound=0, upper_bound=65535, flag_values=flags)
    common_flags.parse(flags, argv, __doc__)
    import_gradio()
    model, name, card = find(flags)
    rest = (flags.server or "").startswith("http")
    url = servers.url_of(flags.server.rstrip("/") if rest else REST, name)
    with tempfile.TemporaryDirectory() as folder:
        blocks = Page(model, name, url, card, folder).blocks
        try:
            blocks.launch(server_name=flags.host, server_port=flags.port, css=STYLE, footer_links=[])
        except OSError as error:
            raise cli.UserError(f"--port={flags.port} can not be listened at ({error}): give another.") from error


if __name__ == "__main__":
    cli.run(main)

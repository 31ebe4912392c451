"""Writes the `models.config` with which one TensorFlow Serving serves several models.

python -m export.models_config --model=digits=runs/vae_digits/export --model=ring=runs/gan_ring/export
    [--version_label=digits:stable=1763650000] [--base_path=/models] [--out=models.config]

A model is served in its newest version, unless versions of it have labels: then in those.
"""

import json
from pathlib import Path

from absl import flags as absl_flags

from common import cli
from common import flags as common_flags
from common.files import write_atomically
from export.publish import versions


def render(models, labels=None):
    """The text of a `ModelServerConfig`.

    Args:
        models: dict, name -> path of its versions as the server sees it.
        labels: dict, name -> dict of version label -> int, the version.
    """
    lines = ["model_config_list {"]
    for name, base_path in models.items():
        lines += ["  config {", f"    name: {_quote(name)}", f"    base_path: {_quote(str(base_path))}"]
        lines += ['    model_platform: "tensorflow"']
        of_model = (labels or {}).get(name, {})
        if of_model:
            numbers = " ".join(f"versions: {number}" for number in sorted(set(of_model.values())))
            lines += [f"    model_version_policy {{ specific {{ {numbers} }} }}"]
        lines += [f"    version_labels {{ key: {_quote(key)} value: {number} }}" for key, number in of_model.items()]
        lines += ["  }"]
    return "\n".join([*lines, "}"]) + "\n"


def _quote(text):
    return json.dumps(text, ensure_ascii=False)  # the escapes of JSON are among those of protocol buffers' text


def parse_models(flags):
    """Dict, name -> directory, of flags NAME=DIRECTORY.

    Raises:
        UserError: for another form, a name that comes twice, or a directory without a version.
    """
    models = {}
    for flag in flags:
        name, _, directory = flag.partition("=")
        if not name or not directory or "/" in name or ":" in name:
            raise cli.UserError(f"--model={flag} must be NAME=DIRECTORY, with no / or : in the name.")
        if name in models:
            raise cli.UserError(f"--model={flag}: there is another model of the name {name}.")
        directory = Path(directory).expanduser()
        if not directory.is_dir() or not versions(directory):
            raise cli.UserError(f"--model={flag}: {directory} holds no version, give the export directory of a run.")
        models[name] = directory.resolve()
    return models


def parse_labels(flags, models):
    """Dict, name -> dict of label -> version, of flags NAME:LABEL=VERSION.

    Raises:
        UserError: for another form, a model that is not in `models`, or a version that it does not have.
    """
    labels = {}
    for flag in flags:
        name, _, rest = flag.partition(":")
        label, _, number = rest.partition("=")
        if name not in models or not label or not number.isdecimal():
            raise cli.UserError(f"--version_label={flag} must be NAME:LABEL=VERSION, with the NAME of a --model.")
        if int(number) not in versions(models[name]):
            found = ", ".join(map(str, versions(models[name])))
            raise cli.UserError(f"--version_label={flag}: {models[name]} has the versions {found}.")
        labels.setdefault(name, {})[label] = int(number)
    return labels


def main(argv):
    flags = absl_flags.FlagValues()
    where = "Where the server sees them, each in a directory of its name; default where they are."
    common_flags.define_list(flags, "model", None, "NAME=DIRECTORY of a model's versions; one for each model.")
    common_flags.define_list(flags, "version_label", [], "NAME:LABEL=VERSION; clients may ask for LABEL.")
    absl_flags.DEFINE_string("base_path", None, where, flag_values=flags)  # as the server writes it: gs:// may be right
    common_flags.define_path(flags, "out", "models.config", "Where the text goes.")
    common_flags.parse(flags, argv, __doc__, required="model")
    models = parse_models(flags.model)
    labels = parse_labels(flags.version_label, models)
    if flags.base_path:
        models = {name: f"{flags.base_path.rstrip('/')}/{name}" for name in models}
    with cli.writing(f"--out={flags.out}"):
        write_atomically(flags.out, lambda path: path.write_text(render(models, labels)))
    print(flags.out)


if __name__ == "__main__":
    cli.run(main)

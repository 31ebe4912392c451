"""What a model was asked, as the requests that TensorFlow Serving takes: for curl, and for Python without packages."""

import json
import shlex
from pathlib import Path

from export.servers import predict_body

LONGEST = 1000  # characters of a body that stands in the command itself; a longer one goes into a file

PYTHON = """\
request = urllib.request.Request({url!r}, json.dumps(body).encode())
with urllib.request.urlopen(request) as answer:
    print(json.load(answer)["outputs"])
"""


class Transcript:
    """A runtime that takes down what it is asked.

    Args:
        model: `export.runtimes.Runtime`.

    Attributes:
        asked: list of (signature, inputs), the requests in their order.
    """

    def __init__(self, model):
        self.model, self.asked = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __str__(self):
        return str(self.model)

    def ask(self, name, inputs):
        self.asked.append((name, inputs))
        return self.model.ask(name, inputs)


def requests(asked, url, folder):
    """What was asked as commands.

    Args:
        asked: list of (signature, inputs), dicts of arrays.
        url: str, where the model answers.
        folder: path, into which the bodies go that are too long for a command.

    Returns:
        three: text for a shell; text for Python; list of the paths of the bodies, which both read by their names in the
        folder in which they run.
    """
    shell, python, files = [], ["import json\nimport urllib.request\n"], []
    for number, (name, inputs) in enumerate(asked, 1):
        body = json.dumps(predict_body(name, inputs))
        if len(body) <= LONGEST:
            data, read = shlex.quote(body), body
        else:
            files.append(Path(folder) / f"request_{number}.json")
            files[-1].write_text(body)
            data, read = f"@{files[-1].name}", f'json.load(open("{files[-1].name}"))'
        shell.append(f"curl -d {data} {shlex.quote(url)}\n")
        python.append(f"body = {read}\n{PYTHON.format(url=url)}")
    return "\n".join(shell), "\n".join(python), files

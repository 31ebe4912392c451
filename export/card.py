"""The model card: what a stranger needs to know of an exported model, in Markdown."""

import json


def render(metadata):
    """The card of a model as text; `metadata` is the contents of `metadata.json`."""
    signatures = metadata["signatures"]
    default = next(name for name in signatures if name != "serving_default")
    inputs = signatures[default]["inputs"]
    data = next(name for name in signatures[default]["outputs"] if name != "valid")
    rows = [
        {name: i if name == "seed" else _zeros(tensor["shape"][1:]) for name, tensor in inputs.items()}
        for i in range(3)
    ]
    rest = [next(iter(row.values())) for row in rows] if len(inputs) == 1 else rows
    arguments = ", ".join(
        "seed=tf.range(4, dtype=tf.int64)" if name == "seed" else _zeros_of_four(name, tensor)
        for name, tensor in inputs.items()
    )
    feeds = "\n".join(
        f'request.inputs["{name}"].CopyFrom(tf.make_tensor_proto({[row[name] for row in rows]}, tf.{tensor["dtype"]}))'
        for name, tensor in inputs.items()
    )
    sections = [
        f"# {metadata['model']}" + (f" on {metadata['dataset']}" if "dataset" in metadata else ""),
        metadata["summary"],
        _list(metadata),
        _evaluation(metadata.get("evaluation")),
        f"""\
## Use

Each integer folder here is a version of the model, a TensorFlow SavedModel; the largest is the newest. Its
`assets.extra/metadata.json` says in JSON what this card says.

In Python, with TensorFlow alone:

```python
from pathlib import Path

import tensorflow as tf

version = max((path for path in Path(".").iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
model = tf.saved_model.load(str(version))
{data} = model.signatures["{default}"]({arguments})["{data}"]
```

Every signature is an attribute of the same name, too:

```python
{_attributes(signatures)}
```

With TensorFlow Serving, from this folder (the docker command was not run by those who wrote this card; models of this
kind were served by TensorFlow Serving's own code, 2.20 on TensorFlow 2.21, and answered as Python does):

```sh
docker run --rm -p 8500:8500 -p 8501:8501 -v "$PWD:/models/generator" -e MODEL_NAME=generator tensorflow/serving
```

Then over REST:

```sh
curl -d '{json.dumps({"instances": rest})}' http://localhost:8501/v1/models/generator:predict
```
""",
        _png(rest) if "sample_png" in signatures else "",
        f"""\
Over gRPC, with the package `tensorflow-serving-api`:

```python
import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("localhost:8500"))
request = predict_pb2.PredictRequest()
request.model_spec.name = "generator"
request.model_spec.signature_name = "{default}"
{feeds}
{data} = tf.make_ndarray(stub.Predict(request, timeout=10.0).outputs["{data}"])
```

The server warms up with the requests in `assets.extra/tf_serving_warmup_requests`: every signature at batch
{_and(metadata["warmup_batches"])}. With batching, `max_batch_size` must be
{max(metadata["warmup_batches"])} at least.""",
        _onnx(metadata.get("onnx")),
        _signatures(signatures, default, metadata["ranges"]),
        _randomness(metadata),
        _settings(metadata),
    ]
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


def _zeros(shape):
    """Nested lists of zeros, as JSON has them."""
    return [_zeros(shape[1:])] * shape[0] if shape else 0


def _zeros_of_four(name, tensor):
    return f"{name}=tf.zeros({[4, *tensor['shape'][1:]]}, tf.{tensor['dtype']})"


def _attributes(signatures):
    lines = []
    for name, signature in signatures.items():
        if name != "serving_default":
            (output, *_), arguments = (
                signature["outputs"],
                ", ".join(_zeros_of_four(key, tensor) for key, tensor in signature["inputs"].items()),
            )
            lines.append(f'{name} = model.{name}({arguments})["{output}"]')
    return "\n".join(lines)


def _and(numbers):
    if len(numbers) == 1:
        return str(numbers[0])
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _onnx(report):
    if not report:
        return ""
    rows = [f"| `{name}.onnx` | {found['largest_difference']:.1g} |" for name, found in report["signatures"].items()]
    return f"""\
## ONNX

`assets.extra/onnx` of the newest version holds these signatures for other runtimes (opset {report["opset"]}, made by
tf2onnx {report["tf2onnx"]}). What ONNX Runtime {report["onnxruntime"]} answered to {report["rows"]} rows was compared
with TensorFlow:

| file | largest difference |
|---|---|
{chr(10).join(rows)}"""


def _list(metadata):
    names = {
        "licence": "Licence of the data",
        "data_checksum": "Checksum of the data (sha256)",
        "num_classes": "Classes of the data",
        "class_names": "Labels",
        "step": "Training steps",
        "command": "Trained by",
        "exported": "Exported",
    }
    lines = [f"- {name}: {_code(key, metadata[key])}" for key, name in names.items() if metadata.get(key) is not None]
    if metadata.get("estimates"):
        lines.append("- Estimated: " + ", ".join(f"{key} {value:.6g}" for key, value in metadata["estimates"].items()))
    versions = ", ".join(f"{name} {version}" for name, version in metadata["versions"].items())
    reference = f"\n\nReference:\n\n{_quote(metadata['reference'])}" if metadata["reference"] else ""
    citation = metadata.get("citation")
    data = f"\n\nWhoever uses the data is asked to cite:\n\n```\n{citation}\n```" if citation else ""
    return "\n".join(lines + [f"- Versions: {versions}"]) + reference + data


def _code(key, value):
    if key == "class_names":
        return ", ".join(f"label {label} is `{name}`" for label, name in enumerate(value))
    return f"`{value}`" if key in ("command", "data_checksum") else value


def _quote(text):
    return "\n".join(f"> {line}" for line in text.splitlines())


def _evaluation(evaluation):
    if not evaluation:
        return "## Results\n\nNot measured yet."
    tables = {}
    for name, numbers in evaluation["results"].items():
        shown = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in numbers.items()}
        line = f"| {name} | {', '.join(f'{key} {value}' for key, value in shown.items())} |"
        how = evaluation.get("measured", {}).get(name, evaluation)  # once, all metrics were of one command
        tables.setdefault(how.get("command"), ["| metric | measured |", "|---|---|"]).append(line)
    return "\n\n".join(["## Results", *(f"Of `{command}`:\n\n" + "\n".join(t) for command, t in tables.items())])


def _png(rest):
    body = json.dumps({"signature_name": "sample_png", "instances": rest})
    return f"""\
Images as PNG files, in base64, a tenth of the size or less:

```sh
curl -d '{body}' http://localhost:8501/v1/models/generator:predict
```
"""


def _signatures(signatures, default, ranges):
    lines = ["| signature | inputs | outputs | |", "|---|---|---|---|"]
    for name, signature in signatures.items():
        cells = [f"`{name}`", _tensors(signature["inputs"]), _tensors(signature["outputs"]), signature["description"]]
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    ranges = "\n".join(f"- `{name}`: {text}" for name, text in ranges.items())
    return f"""\
## Signatures

`?` is the batch: any number of rows, each independent of the others. `serving_default` is `{default}`.

{chr(10).join(lines)}

{ranges}

Where there is an output `valid`, a row whose input is not finite or out of range, or whose answer is not finite, comes
back as zeros (an empty string) with `valid` false; the other rows do not notice."""


def _tensors(tensors):
    return ", ".join(
        f"`{name}` {tensor['dtype']} [{', '.join('?' if size is None else str(size) for size in tensor['shape'])}]"
        for name, tensor in tensors.items()
    )


def _randomness(metadata):
    lines = [f"- {name}: {text}" for name, text in metadata["random_numbers"].items()]
    if not (samples := metadata["samples"]):
        return ""
    label = f" for label {samples['label']}" if "label" in samples else ""
    rows = [f"| {row['seed']} | {row['mean']} | `{row['sha256']}` |" for row in samples["rows"]]
    return f"""\
## Random numbers

The request carries the randomness: one int64 `seed` for each row. The same seed gives the same row after a restart,
on every replica and in any batch; consecutive seeds are independent. JavaScript keeps integers up to 2^53 only.

{chr(10).join(lines)}

What the first seeds give{label}. The mean is the same to 0.001 on every machine, the digest (of {samples["digest_of"]})
on those like the one that exported:

| seed | mean | sha256 |
|---|---|---|
{chr(10).join(rows)}"""


def _settings(metadata):
    text = "\n".join(metadata.get("settings", [])) or json.dumps(metadata["config"], indent=2)
    return f"## Settings\n\n```\n{text}\n```"

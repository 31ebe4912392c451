"""ONNX Runtime answers as TensorFlow does, to other rows than those that the export has compared."""

import json
import sys

import numpy as np
import pytest

from common import cli
from export import onnx_files
from export.saved_model import export_model
from tests.export.exported import Exported
from zoo import MODELS


@pytest.fixture(scope="module")
def onnxruntime():
    pytest.importorskip("tf2onnx", reason="needs the extra `onnx`")
    return pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")


@pytest.mark.slow
def test_onnx_runtime(core, onnxruntime, tmp_path):
    convertible = [name for name in onnx_files.NAMES if name in core.signature_def]
    if not convertible:
        with pytest.raises(cli.UserError, match="this model has neither"):
            export_model(core.model, tmp_path, metadata={}, signatures=[], onnx=True)
        return
    exported = Exported(core.model, tmp_path, signatures=convertible, onnx=True)
    report = json.loads((exported.version / "assets.extra" / "metadata.json").read_text())["onnx"]
    files = sorted((exported.version / "assets.extra" / "onnx").iterdir())
    assert {file.stem for file in files} == set(report["signatures"]) == set(convertible)
    card = (exported.export_dir / "README.md").read_text()
    for file in files:
        assert f"| `{file.name}` |" in card and report["signatures"][file.stem]["largest_difference"] < 1e-5
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for batch in (1, 7):
            inputs = exported.rows(file.stem, batch, np.random.default_rng(batch))
            answer = session.run(None, inputs)
            names = [output.name for output in session.get_outputs()]
            for key, value in exported.call(file.stem, inputs).items():
                np.testing.assert_allclose(answer[names.index(key)], value, atol=1e-5)


def test_what_is_missing_is_told(tmp_path, monkeypatch):
    gan = MODELS["gan"](data_shape=(2,), latent_size=3, generator_units=(16,), discriminator_units=(16,))
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(cli.UserError, match="--onnx needs the packages tf2onnx and onnxruntime"):
        export_model(gan, tmp_path, metadata={}, onnx=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_other_answers_are_not_published(onnxruntime, tmp_path, monkeypatch):
    gan = MODELS["gan"](data_shape=(2,), latent_size=3, generator_units=(16,), discriminator_units=(16,))
    monkeypatch.setattr(onnx_files, "TOLERANCE", -1.0)
    with pytest.raises(cli.UserError, match="ONNX Runtime answers decode otherwise than TensorFlow"):
        export_model(gan, tmp_path, metadata={}, onnx=True)
    assert not list(tmp_path.iterdir())

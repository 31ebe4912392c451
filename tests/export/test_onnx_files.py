"""ONNX Runtime answers as TensorFlow does, to other rows than those that the export has compared."""

import json
import sys

import numpy as np
import pytest

from common.cli import UserError
from export import onnx_files
from export.saved_model import export_model
from tests.export.exported import gan_of_points
from tests.mistakes import mistake


@pytest.fixture(scope="module")
def onnxruntime():
    pytest.importorskip("tf2onnx", reason="needs the extra `onnx`")
    return pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")


@pytest.mark.slow
def test_onnx_runtime_answers_as_tensorflow_does(core, onnxruntime, monkeypatch):
    """To other rows than those that the conversion itself compares."""
    monkeypatch.setenv("TF2ONNX_CATCH_ERRORS", "FALSE")  # a simplification that fails is told, not undone from a copy
    if not set(onnx_files.NAMES) & set(core.signature_def):
        with mistake("this model has none of them"):
            onnx_files.convert(core.loaded.signatures)
        return
    if "ONNX" in core.model.exceptions:
        with pytest.raises(UserError, match="sample can not be converted to ONNX"):
            onnx_files.convert(core.loaded.signatures, core.num_classes)
        return
    signatures = {name: core.loaded.signatures[name] for name in core.signature_def}
    if {"decode", "sample"} <= set(signatures):
        signatures.pop("sample_mean", None)  # `decode` at the latent of the seed, as I11 asks: both are converted
    files, report = onnx_files.convert(signatures, core.num_classes)
    assert set(files) == set(report["signatures"]) == set(onnx_files.NAMES) & set(signatures)
    for name, file in files.items():
        assert report["signatures"][name]["largest_difference"] < 1e-5
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
        for batch in (1, 7):
            inputs = core.rows(name, batch, np.random.default_rng(batch))
            answer = dict(zip(outputs, session.run(None, inputs), strict=True))
            for key, value in core.call(name, inputs, optimised=False).items():
                np.testing.assert_allclose(answer[key], value, atol=1e-5)


@pytest.mark.slow
def test_the_files_are_published_with_their_report(onnxruntime, tmp_path):
    version = export_model(gan_of_points(), tmp_path, metadata={}, signatures=["decode"], onnx=True)
    report = json.loads((version / "assets.extra" / "metadata.json").read_text())["onnx"]
    files = sorted((version / "assets.extra" / "onnx").iterdir())
    assert [file.stem for file in files] == list(report["signatures"]) == ["decode", "sample"]
    card = (tmp_path / "README.md").read_text()
    for file in files:
        assert f"| `{file.name}` |" in card
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_what_is_missing_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with mistake("--onnx needs the packages tf2onnx and onnxruntime"):
        export_model(gan_of_points(), tmp_path, metadata={}, onnx=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("onnxruntime")
def test_other_answers_are_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "TOLERANCE", -1.0)
    with mistake("ONNX Runtime answers decode otherwise than TensorFlow"):
        export_model(gan_of_points(), tmp_path, metadata={}, signatures=["decode"], onnx=True)
    assert not list(tmp_path.iterdir())

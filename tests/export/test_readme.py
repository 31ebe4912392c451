"""The requests in export/README.md are answered, and the commands there have the flags that they name."""

import base64
import json
import re
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

from export import client, models_config, playground, run, sample
from tests.export.exported import ROOT
from tests.export.servers import GrpcServer, Models, RestServer

TEXT = (ROOT / "export" / "README.md").read_text()


@pytest.mark.slow
def test_curl(vae):
    seeds = {"seed": np.arange(3)}
    commands = re.findall(r"curl (?:-d '(.*?)' )?http://localhost:8501(\S+)", TEXT)
    assert len(commands) == 3
    with RestServer(Models({"digits": [vae]})) as server:
        answers = []
        for body, path in commands:
            with urllib.request.urlopen(server.address + path, body.encode() or None) as response:
                answers.append(json.load(response))
    by_row, by_column, metadata = answers
    np.testing.assert_allclose(by_row["predictions"], vae.call("sample", seeds)["images"], atol=1e-6)
    pngs = vae.call("sample_png", seeds)["image_bytes"]
    assert [base64.b64decode(png["b64"]) for png in by_column["outputs"]] == list(pngs)
    assert set(metadata["metadata"]["signature_def"]["signature_def"]) == set(vae.signature_def)


@pytest.mark.slow
def test_python(vae):
    rest, grpc = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    seeds, scope = {"seed": np.arange(16)}, {}
    with RestServer(Models({"digits": [vae]})) as server:
        exec(rest.replace("http://localhost:8501", server.address), scope)
    pixels = np.array([tf.io.decode_png(png) for png in scope["images"]])
    np.testing.assert_allclose(pixels, 255 * vae.call("sample", seeds)["images"], atol=0.51)
    pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")
    with GrpcServer(Models({"digits": [vae]})) as server:
        exec(grpc.replace("localhost:8500", server.address), scope)
    np.testing.assert_allclose(scope["images"], vae.call("sample", seeds)["images"], atol=1e-6)


@pytest.mark.parametrize("main", [client.main, models_config.main, playground.main, run.main, sample.main])
def test_flags(main, capsys):
    name = main.__module__
    commands = re.findall(rf"python -m {name} ((?:\\\n|[^\n`])*)", TEXT + (ROOT / "README.md").read_text())
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    known = re.findall(r"^  --(\w+):", capsys.readouterr().out, re.MULTILINE)
    assert commands and known
    for command in commands:
        assert set(re.findall(r"--(\w+)", command)) <= set(known), command

"""The playground in a browser, and the requests that it shows."""

import contextlib
import functools
import importlib.util
import io
import json
import shlex
import shutil
import types
import urllib.request

import numpy as np
import PIL.Image
import pytest

from export import playground, tasks
from export.runtimes import Local
from export.servers import url_of
from export.transcript import Transcript, requests
from tests.export.exported import Exported
from tests.export.servers import Models, RestServer
from tests.mistakes import mistake
from tests.models import make

pytestmark = [pytest.mark.usefixtures("loaded_once"), pytest.mark.slow]


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.png"
    PIL.Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)
    return str(path)


ASKED = {
    "samples": lambda model, picture: playground.draw_samples(model, 0, 4, None, False),
    "walk": lambda model, picture: playground.walk(model, 0, 1, 0.5, None),
    "reconstruction": lambda model, picture: playground.reconstruct(model, picture, 3, None),
    "completion": lambda model, picture: playground.complete(model, picture, "left", 6, 3, None, True),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_the_requests_that_are_shown_give_what_the_page_got(ask, vae, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    transcript = Transcript(Local(vae.version))
    ask(transcript, picture)
    answers = [transcript.model.ask(name, inputs) for name, inputs in transcript.asked]
    with RestServer(Models({"vae": [vae]})) as server:
        shell, python, _ = requests(transcript.asked, url_of(server.address, "vae"), tmp_path)
        by_curl = []
        for line in shell.strip().split("\n\n"):
            curl, option, data, url = shlex.split(line)
            assert (curl, option) == ("curl", "-d")
            body = open(data[1:], "rb").read() if data[0] == "@" else data.encode()
            with urllib.request.urlopen(urllib.request.Request(url, body)) as response:
                by_curl.append(json.load(response)["outputs"])
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(python, "page", "exec"), {})
    assert printed.getvalue() == "".join(f"{outputs}\n" for outputs in by_curl)
    for outputs, answer in zip(by_curl, answers, strict=True):
        outputs = outputs if isinstance(outputs, dict) else dict.fromkeys(answer, outputs)
        for key, values in answer.items():
            np.testing.assert_allclose(np.array(outputs[key]), values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["either --model_dir", "or --server"]),
        (["--model_dir=x", "--server=y"], ["either --model_dir", "or --server"]),
        (["--model_dir=nowhere"], ["nowhere", "no directory"]),
        (["--server=http://127.0.0.1:1"], ["--model is missing"]),
    ],
)
def test_mistakes(flags, words, monkeypatch):
    monkeypatch.setattr(playground, "import_gradio", lambda: None)
    mistake(lambda: playground.main(["playground", *flags]), *words)


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    mistake(lambda: playground.main(["playground", "--model_dir=x"]), "pip install")


# --- In a browser ----------------------------------------------------------------------------------------------------

PICTURES = "img[src*='/file=']"  # not icons
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))


@pytest.fixture(scope="module")
def open_page(vae, tmp_path_factory):
    """A browser that shows the page, and waits for what is looked for."""
    if not (CHROMIUM and DRIVER and importlib.util.find_spec("gradio") and importlib.util.find_spec("selenium")):
        pytest.skip("needs the extra `playground`, selenium, chromium and its driver")
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    page = playground.Page(
        Local(vae.version), "digits", url_of(playground.REST, "digits"), "**card**", tmp_path_factory.mktemp("page")
    )
    _, address, _ = page.blocks.launch(prevent_thread_lock=True, quiet=True, css=playground.STYLE)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1100,1400"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get(address)
        yield types.SimpleNamespace(driver=driver, wait=WebDriverWait(driver, 60).until)
    finally:
        driver.quit()
        page.blocks.close()


def shown(selector, driver):
    return [element for element in driver.find_elements("css selector", selector) if element.is_displayed()]


def press(page, text):
    page.wait(lambda driver: [b for b in shown("button", driver) if b.text == text])[-1].click()


def answer(driver):
    """The address of the answer's picture, by its content; None while there is none."""
    images = shown(PICTURES, driver)
    return images[-1].get_attribute("src") if images else None


def test_a_sample_appears_the_slider_changes_it_and_an_error_is_a_sentence(open_page, picture):
    page = open_page
    page.wait(answer)
    page.wait(lambda driver: "sample_mean" in driver.find_element("css selector", "body").text)
    titles = [tab.text for tab in shown("[role=tab]", page.driver)]
    assert titles == ["Samples", "Walk", "Reconstruct", "Complete"]

    press(page, "Walk")
    (slider,) = page.wait(functools.partial(shown, "input[type=range][aria-label$='How far']"))
    before = page.wait(answer)
    page.driver.execute_script(
        "arguments[0].value = 0.5;"
        "for (const kind of ['input', 'change']) arguments[0].dispatchEvent(new Event(kind, {bubbles: true}))",
        slider,
    )
    page.wait(lambda driver: answer(driver) not in (None, before))

    press(page, "Reconstruct")
    press(page, "Reconstruct")  # its button, now that its tab is shown
    (toast,) = page.wait(functools.partial(shown, ".toast-body"))
    assert "There is no picture yet: choose or drop one." in toast.text

    press(page, "Complete")
    (panel,) = shown("[role=tabpanel]", page.driver)
    panel.find_element("css selector", "input[type=file]").send_keys(picture)
    page.wait(answer)
    press(page, "Complete")
    page.wait(lambda driver: "@request_1.json" in panel.text)
    page.wait(lambda driver: len(shown(PICTURES, driver)) == 2)


def test_only_what_the_signatures_offer(vae):
    """Of points there are no pictures to reconstruct."""
    pytest.importorskip("gradio")
    model = Local(vae.version)
    model.signatures = {name: model.signatures[name] for name in ("sample", "latent")}
    page = playground.Page(model, "digits", "http://localhost", "", ".")
    tabs = [block.label for block in page.blocks.blocks.values() if type(block).__name__ == "Tab"]
    assert tabs == ["Samples"]
    assert not tasks.shows_means(model)


def test_a_translation_is_shown_beside_its_condition(picture, tmp_path):
    model = Local(Exported(make("image_to_image"), tmp_path).version)
    data = playground.read(model, "translate", picture)
    answer = model.ask("translate", {"seed": np.array([3]), "images": data})
    shown = np.asarray(playground.picture_of(playground.translate(model, picture, 3, None))) / 255.0
    tiles = [shown[2:66:8, 2 + 66 * i : 66 + 66 * i : 8] for i in range(3)]
    for tile, rows in zip(tiles, [data, answer["condition_images"], answer["images"]], strict=True):
        np.testing.assert_allclose(tile, np.broadcast_to(rows[0], tile.shape), atol=0.5 / 255)

"""The report, in a real browser and in a notebook."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from stream_perceptron import LiveModel, SGDPerceptron, load, save
from stream_perceptron.diagnostics import render_report
from stream_perceptron.diagnostics.plots import (
    NEGATIVE_COLOR,
    POSITIVE_COLOR,
    draw_pixels,
    draw_weights,
)

LABELS = ["<script>alert(1)</script>", "\N{DOG FACE} & \N{CAT FACE}", '" onload="alert(1)', "$x$"]
VOID_TAGS = {"meta", "link", "img"}


class Page(HTMLParser):
    """The elements of a page, each of which must be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID_TAGS:
            assert tag == self.open.pop()

    def handle_data(self, data):
        self.text.append(data)

    def find_all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="session")
def page(run, mnist_files, tmp_path_factory):
    """The report on full MNIST, with the mistakes on the test digits."""
    folder = tmp_path_factory.mktemp("report")
    model, path = folder / "mnist.npz", folder / "report.html"
    run("learn", mnist_files["train"], "-m", model, check=0)
    run("report", model, "-o", path, "--examples", mnist_files["test"], check=0)
    return path


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A function that opens an address in Chromium and returns the finished process."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        assert not os.environ.get("CI"), ".ci/run installs chromium"
        pytest.skip("Chromium is not installed")

    def open_page(address, *options):
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update",
                 "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--v=0",
                 f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]  # fmt: skip
        result = subprocess.run(
            [program, *flags, *options, address], capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stderr
        return result

    return open_page


def test_page_shows_the_run_without_scripts_or_network(page, run, mnist_files, report_figure):
    text = page.read_text()
    parsed, shown = Page(text), " ".join(Page(text).text)
    live = LiveModel.load(page.with_name("mnist.npz"))
    evaluated = run("evaluate", mnist_files["test"], "-m", page.with_name("mnist.npz")).stdout
    accuracy = float(re.search(r"accuracy ([0-9.]+)%", evaluated)[1])
    report_figure(f"report on MNIST with 12 mistakes: {len(text) / 1e3:.0f} kB")

    assert len(text) < 200_000
    assert not parsed.find_all("script")
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    images = parsed.find_all("img")
    assert len(images) == 22
    assert all(attrs["alt"] and attrs["src"].startswith("data:") for attrs in images)
    assert all(attrs["scope"] in ("row", "col") for attrs in parsed.find_all("th"))
    assert f"{live.progress.accuracy:.1%}" in shown
    assert "The model was not trained on this file." in shown
    assert "No problems found." in shown
    assert f"({accuracy:.1f}%) are predicted correctly" in shown
    support = live.progress.confusion.compute_metrics(10).support
    for name, n in zip(live.model.classes_, support, strict=True):
        assert re.search(rf"\b{name}\s+{n:,}\s+\d", shown)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_renders_in_light_and_dark_mode(page, browser, scheme, tmp_path):
    picture = tmp_path / "page.png"
    result = browser(
        page.as_uri(), "--window-size=1000,3600", f"--screenshot={picture}",
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
    )  # fmt: skip
    pixels = np.asarray(Image.open(picture).convert("RGB")) / 255

    assert "CONSOLE" not in result.stderr
    paper = pixels[5, 5].mean()
    assert paper > 0.9 if scheme == "light" else paper < 0.2
    # Lines, tables and images have more than one tone.
    assert len(np.unique((pixels[::4, ::4] * 15).astype(int).reshape(-1, 3), axis=0)) > 50


@pytest.mark.slow
def test_page_fits_narrow_and_wide_screens(page, browser, tmp_path):
    """Chromium's window is at least 500 pixels wide, so frames stand for narrower screens."""
    frame = tmp_path / "frame.html"
    frames = "".join(
        f'<iframe src="{page.as_uri()}" width="{width}" height="800"></iframe>'
        for width in (390, 1280)
    )
    script = (
        "const pages = Array.from(frames, frame => frame.document.documentElement);"
        "const wide = pages.filter(page => page.scrollWidth > page.clientWidth);"
        "document.title = `${wide.length} of ${pages.length} are too wide`"
    )
    frame.write_text(f"{frames}<script>onload = () => {{ {script} }}</script>")
    shown = browser(
        frame.as_uri(), "--dump-dom", "--virtual-time-budget=5000",
        "--allow-file-access-from-files",
    ).stdout  # fmt: skip

    assert "<title>0 of 2 are too wide</title>" in shown


def test_names_that_look_like_html_stay_text(browser, run, tmp_path):
    source, model, path = (tmp_path / name for name in ("<b>s.csv", "<u>m.npz", "report.html"))
    quoted = [f'"{label.replace(chr(34), 2 * chr(34))}"' for label in LABELS]
    rows = [f"{quoted[i % 4]},{i % 4 % 3},{2 * i % 3},{(i % 4) ** 2 % 3}" for i in range(400)]
    source.write_text("\n".join(["label,<i>a,b&amp;,$c$", *rows]))
    run("learn", source, "-m", model, check=0)
    run("report", model, "-o", path, "--examples", source, check=0)
    parsed, result = Page(path.read_text()), browser(path.as_uri(), "--dump-dom")
    text = "\n".join(parsed.text)

    assert not parsed.find_all("script")
    assert not any("onload" in attrs for _, attrs in parsed.elements)
    for name in [*LABELS, "<i>a", "<u>m.npz", "<b>s.csv"]:
        assert name in text
    assert "CONSOLE" not in result.stderr
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in result.stdout


def test_two_models_stand_side_by_side(run, mnist_sample, tmp_path):
    models = [tmp_path / f"{lr}.npz" for lr in ("0.1", "0.01")]
    for model in models:
        run("learn", mnist_sample, "--lr", model.stem, "-m", model, check=0)
    run("report", *models, "-o", tmp_path / "r.html", check=0)
    parsed = Page((tmp_path / "r.html").read_text())
    cells = [text for text in parsed.text if text.strip()]
    accuracies = [f"{LiveModel.load(model).progress.accuracy:.1%}" for model in models]

    assert cells[cells.index("accuracy") + 1 :][:2] == accuracies
    assert cells[cells.index("learning rate") + 1 :][:2] == ["0.1", "0.01"]
    assert len([p for p in parsed.find_all("path") if p["class"].startswith("model")]) == 2
    result = run("report", *models, "--examples", mnist_sample, check=2)
    assert "--examples shows the mistakes of one model: name one" in result.stderr


def test_notebooks_show_the_figures_of_a_model(run, mnist_sample, tmp_path):
    run("learn", mnist_sample, "-m", tmp_path / "m.npz", check=0)
    live, loaded = LiveModel.load(tmp_path / "m.npz"), load(tmp_path / "m.npz")

    assert f"<dd>{live.progress.accuracy:.1%}</dd>" in live._repr_html_()
    assert "<svg" in live._repr_html_()
    assert "<dd>5,000</dd>" in loaded._repr_html_()
    Page(loaded._repr_html_())


def test_report_of_untrained_and_unlabeled_models(run, tmp_path):
    """One was saved untrained in Python, and one had no labels."""
    save(SGDPerceptron(classes=["left", "right"], seed=0), tmp_path / "empty.npz")
    (tmp_path / "bare.csv").write_text("a,b\n1,2\n")
    run("learn", tmp_path / "bare.csv", "-m", tmp_path / "bare.npz", "-p", "-", check=0)
    for name in ("empty", "bare"):
        text = render_report({name: LiveModel.load(tmp_path / f"{name}.npz")})
        assert f">Report on {name}</h1>" in text
        Page(text)
    result = run(
        "report", tmp_path / "bare.npz", "-o", tmp_path / "r", "--examples", tmp_path / "bare.csv",
        check=1,
    )  # fmt: skip
    assert "no labels to compare predictions with" in result.stderr
    assert not (tmp_path / "r").exists()


def test_mistakes_name_the_features_that_misled_the_model(run, tmp_path, rng):
    source, model, path = (tmp_path / name for name in ("s.csv", "m.npz", "r.html"))
    points = rng.normal(size=(500, 3))
    rows = [(x, y, "up" if x + 0.2 * y + 0.5 * z > 0 else "down") for x, y, z in points]
    source.write_text("\n".join(["wide,thin,label", *(f"{x},{y},{z}" for x, y, z in rows)]))
    run("learn", source, "-m", model, "--lr", "0.5", "--no-standardize", check=0)
    run("report", model, "-o", path, "--examples", source, check=0)
    live = LiveModel.load(model)
    weights, classes, columns = live.model.weights, live.model.classes_, live.model.features_
    row = r"row (\d+): <strong>(up|down)</strong> .*, because of (.*)</figcaption>"
    shown = re.findall(row, path.read_text())

    assert len(shown) > 5
    for number, label, features in shown:
        weight_differences = weights[1 - classes.index(label)] - weights[classes.index(label)]
        x = dict(zip(("wide", "thin"), rows[int(number) - 1], strict=False))
        contributions = sorted(
            ((w * x[name], name) for w, name in zip(weight_differences, columns, strict=True)),
            reverse=True,
        )
        expected = [f"{name} = {x[name]:.4g}" for c, name in contributions if c > 0]
        assert features == ", ".join(expected or ["the bias"])


def test_report_on_many_classes_has_a_bounded_size(run, tmp_path, report_figure):
    source, model, path = (tmp_path / name for name in ("s.csv", "m.npz", "r.html"))
    rows = [f"a class with a long name {i % 2000},{i % 7},{i % 11}" for i in range(6000)]
    source.write_text("\n".join(["label,a,b", *rows]))
    run("learn", source, "-m", model, "--save-every", 900, check=0)
    run("report", model, "-o", path, check=0)
    text = path.read_text()
    Page(text)
    report_figure(f"report on 2,000 classes: {len(text) / 1e3:.0f} kB")

    assert len(text) < 400_000
    assert "the 30 most frequent of 2,000 classes" in text


def test_missing_jinja2_names_the_package_to_install(run, mnist_sample, tmp_path):
    run("learn", mnist_sample, "--limit", "10", "-m", tmp_path / "m.npz", check=0)
    script = "import sys; sys.modules['jinja2'] = None; import runpy; "
    script += "runpy.run_module('stream_perceptron_cli', run_name='__main__')"
    command = [sys.executable, "-c", script, "report", tmp_path / "m.npz"]
    result = subprocess.run(command, capture_output=True, text=True)

    expected = "Error: the report needs jinja2; to install it:\n  pip install jinja2\n"
    assert (result.returncode, result.stderr) == (1, expected)


def decode_png(uri):
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def test_weight_signs_set_the_color_and_sizes_the_opacity(rng):
    weights = rng.normal(size=(9, 9))
    pixels = decode_png(draw_weights(weights, 2.0))

    for sign, color in ((weights > 0, POSITIVE_COLOR), (weights < 0, NEGATIVE_COLOR)):
        assert (pixels[sign][:, :3] == color).all()
    assert pixels[..., 3] == pytest.approx(255 * np.minimum(np.abs(weights) / 2, 1), abs=0.5)


def test_largest_value_of_an_image_is_opaque_and_the_smallest_transparent():
    pixels = decode_png(draw_pixels(np.array([[-1.0, 0.0], [0.0, 3.0]])))

    assert pixels[..., 3].tolist() == [[0, 64], [64, 255]]

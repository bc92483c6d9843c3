"""The report, in a real browser and in a notebook."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import write_csv
from PIL import Image

from stream_perceptron import LiveModel
from stream_perceptron.diagnostics.plots import NEGATIVE_COLOR, POSITIVE_COLOR

VOID_TAGS = {"meta", "link", "img"}


class Page(HTMLParser):
    """The elements of a page, each of which must be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID_TAGS:
            assert tag == self.open.pop()

    def handle_data(self, data):
        self.texts.append(data)

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


def decode_png(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_page_shows_the_run_without_scripts_or_network(page, report_figure):
    text, live = page.read_text(), LiveModel.load(page.with_name("mnist.npz"))
    parsed = Page(text)
    shown, images = " ".join(parsed.texts), parsed.find_all("img")
    report_figure(f"report on MNIST with 12 mistakes: {len(text) / 1e3:.0f} kB")

    assert len(text) < 200_000
    assert not parsed.find_all("script")
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    assert all(attrs["alt"] for attrs in images)
    assert all(attrs["scope"] in ("row", "col") for attrs in parsed.find_all("th"))
    assert f"{live.progress.accuracy:.1%}" in shown
    assert "The model was not trained on this file." in shown
    assert "No problems found." in shown
    support = live.progress.confusion.compute_metrics(10).support
    for name, n in zip(live.model.classes_, support, strict=True):
        assert re.search(rf"\b{name}\s+{n:,}\s+\d", shown)

    pictures = [decode_png(attrs["src"]) for attrs in images]
    weights = live.model.weights.reshape(10, 28, 28)
    for part, picture in zip(weights, pictures, strict=False):
        assert (picture[part > 0][:, :3] == POSITIVE_COLOR).all()
        assert (picture[part < 0][:, :3] == NEGATIVE_COLOR).all()
        opacity = 255 * np.abs(part) / np.abs(weights).max()
        assert picture[..., 3] == pytest.approx(opacity, abs=0.5)
    mistakes = [picture[..., 3] for picture in pictures[10:]]
    assert [(each.min(), each.max()) for each in mistakes] == [(0, 255)] * 12


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


def test_mistakes_are_the_most_confident_ones_and_name_misleading_features(run, tmp_path, rng):
    source, model, path = (tmp_path / name for name in ("s.csv", "m.npz", "r.html"))
    points = rng.normal(size=(500, 3))
    rows = [(x, y, "up" if x + 0.2 * y + 0.5 * z > 0 else "down") for x, y, z in points]
    write_csv(source, ["wide", "thin", "label"], rows)
    run("learn", source, "-m", model, "--lr", "0.5", "--no-standardize", check=0)
    run("report", model, "-o", path, "--examples", source, check=0)
    pattern = r"row (\d+): <strong>(up|down)</strong> .* score (.*), because of (.*)</figcaption>"
    shown = re.findall(pattern, path.read_text())
    predicted = map(json.loads, run("predict", source, "-m", model, check=0).stdout.splitlines())
    wrong = sorted(row["score"] for row in predicted if row["prediction"] != row["label"])
    perceptron = LiveModel.load(model).model
    differences = dict(zip(perceptron.features_, *np.diff(perceptron.weights, axis=0), strict=True))

    assert len(shown) == 12
    assert [score for _, _, score, _ in shown] == [f"{score:.2f}" for score in wrong[:-13:-1]]
    for number, label, _, features in shown:
        x = dict(zip(("wide", "thin"), rows[int(number) - 1], strict=False))
        sign = 1 if label == perceptron.classes_[0] else -1
        favors = {name: sign * differences[name] * x[name] for name in x}
        names = sorted((name for name in x if favors[name] > 0), key=favors.get, reverse=True)
        expected = ", ".join(f"{name} = {x[name]:.4g}" for name in names)
        assert features == (expected or "the bias")


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

"""The report in a real browser."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from stream_perceptron import LiveModel, SGDPerceptron, save
from stream_perceptron.diagnostics.report import report

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


@pytest.fixture
def page_server(page):
    """The page's address on a local server, and the list of the paths requested from it."""
    requested_paths = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form, *args):
            requested_paths.append(self.path)

    handler = functools.partial(Handler, directory=str(page.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{page.name}", requested_paths
    server.shutdown()
    server.server_close()


def test_page_is_small_self_contained_and_accessible(page, report_figure):
    text = page.read_text()
    parsed = Page(text)
    report_figure(f"report on MNIST with 12 mistakes: {len(text) / 1e3:.0f} kB")

    assert len(text) < 200_000
    assert not parsed.find_all("script")
    assert len(parsed.find_all("img")) == 22
    images = parsed.find_all("img")
    assert all(attrs["alt"] and attrs["src"].startswith("data:") for attrs in images)
    (drawing,) = [attrs for attrs in parsed.find_all("div") if attrs.get("role") == "img"]
    assert len(parsed.find_all("svg")) == 3
    assert parsed.find_all("html")[0]["lang"] == "en"
    assert re.match(r"From the first 320 samples to the last \d+: ", drawing["aria-label"])
    assert len(parsed.find_all("caption")) == len(parsed.find_all("table")) == 2
    assert all(attrs["scope"] in ("row", "col") for attrs in parsed.find_all("th"))
    assert len(parsed.find_all("h1")) == 1
    assert len(parsed.find_all("h2")) == 8
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)


def test_report_shows_the_figures_of_the_run(page, run, mnist_files):
    model = page.with_name("mnist.npz")
    live = LiveModel.load(model)
    text = " ".join(Page(page.read_text()).text)
    evaluated = run("evaluate", mnist_files["test"], "-m", model, check=0).stdout
    accuracy = re.search(r"accuracy ([0-9.]+)%", evaluated)[1]

    assert f"{live.progress.accuracy:.1%}" in text
    assert "The model was not trained on this file." in text
    assert "No problems found." in text
    assert f"({float(accuracy):.1f}%) are predicted correctly" in text
    for name, n in zip(
        live.model.classes_, live.progress.confusion.compute_metrics(10).seen, strict=True
    ):
        assert re.search(rf"\b{name}\s+{n:,}\s+\d", text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_renders_in_light_and_dark_mode(page, browser, page_server, scheme, tmp_path):
    address, requested_paths = page_server
    picture = tmp_path / "page.png"
    result = browser(
        address, "--window-size=1000,3600", f"--screenshot={picture}",
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
    )  # fmt: skip
    pixels = np.asarray(Image.open(picture).convert("RGB")) / 255

    assert "CONSOLE" not in result.stderr
    assert requested_paths == [f"/{page.name}"]
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


def compute_luminance(color):
    share = np.array(color) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_colors_have_enough_contrast(page):
    """WCAG 2.2 requires 4.5 : 1 for text and 3 : 1 for drawings."""
    style = re.search("<style>(.*?)</style>", page.read_text(), re.S)[1]
    common, dark = re.split("prefers-color-scheme: dark", style, maxsplit=1)

    def parse_colors(text):
        matches = re.findall(r"--([a-z]+): (#[0-9a-f]{6}|(?:rgb\()?\d+, \d+, \d+)", text)
        return {
            name: [int(value[i : i + 2], 16) for i in (1, 3, 5)]
            if value[0] == "#"
            else [int(part) for part in re.findall(r"\d+", value)]
            for name, value in matches
        }

    light_colors = parse_colors(common)
    for colors in (light_colors, light_colors | parse_colors(dark.split("body {")[0])):
        for paper in ("paper", "box"):
            for name, min_contrast in (
                ("ink", 4.5), ("faint", 4.5), ("error", 3), ("advice", 3), ("for", 3),
                ("against", 3), ("grey", 3),
            ):  # fmt: skip
                low, high = sorted(compute_luminance(colors[color]) for color in (name, paper))
                assert (high + 0.05) / (low + 0.05) >= min_contrast, (name, paper)


@pytest.mark.parametrize(
    ("names", "are_shown"),
    [(["<i>a", "b&amp;", "$c$"], True), ([f"<i>{i}" for i in range(16)], False)],
    ids=["names", "pictures"],
)
def test_names_that_look_like_html_stay_text(browser, run, tmp_path, names, are_shown):
    """The weights of 16 features are drawn as pictures, without names."""
    source = tmp_path / "<b>samples.csv"
    quoted = [f'"{label.replace(chr(34), 2 * chr(34))}"' for label in LABELS]
    rows = [
        ",".join([quoted[i % 4], *(str(i % 4 * j % 3) for j in range(len(names)))])
        for i in range(400)
    ]
    source.write_text("\n".join(["label," + ",".join(names), *rows]))
    model, path = tmp_path / "<u>m.npz", tmp_path / "report.html"
    run("learn", source, "-m", model, check=0)
    run("report", model, "-o", path, "--examples", source, check=0)
    parsed = Page(path.read_text())
    result = browser(path.as_uri(), "--dump-dom")
    text = "\n".join(parsed.text)

    assert not parsed.find_all("script")
    assert not parsed.find_all("i")
    assert not any("onload" in attrs for _, attrs in parsed.elements)
    assert (len(parsed.find_all("img")) == 0) == are_shown
    for name in [*LABELS, *(names if are_shown else ()), "<u>m.npz", "<b>samples.csv"]:
        assert name in text
    assert "CONSOLE" not in result.stderr
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in result.stdout
    assert "\N{DOG FACE}" in result.stdout


def test_report_of_untrained_and_unlabeled_models(run, tmp_path):
    """One was saved untrained in Python, and one had no labels."""
    save(SGDPerceptron(classes=["left", "right"], seed=0), tmp_path / "empty.npz")
    (tmp_path / "bare.csv").write_text("a,b\n1,2\n")
    run("learn", tmp_path / "bare.csv", "-m", tmp_path / "bare.npz", "-p", "-", check=0)
    for name in ("empty", "bare"):
        text = report(LiveModel.load(tmp_path / f"{name}.npz"), name)
        assert f">Report on {name}</h1>" in text
        Page(text)
    result = run(
        "report", tmp_path / "bare.npz", "-o", tmp_path / "r", "--examples", tmp_path / "bare.csv",
        check=1,
    )  # fmt: skip
    assert "no labels to compare predictions with" in result.stderr
    assert not (tmp_path / "r").exists()


def test_features_have_bars_and_mistakes_list_feature_values(run, tmp_path, rng):
    source, model, path = (tmp_path / name for name in ("s.csv", "m.npz", "r.html"))
    points = rng.normal(size=(500, 3))
    rows = [(x, y, "up" if x + 0.2 * y + 0.5 * z > 0 else "down") for x, y, z in points]
    source.write_text("\n".join(["wide,thin,label", *(f"{x},{y},{z}" for x, y, z in rows)]))
    run("learn", source, "-m", model, "--lr", "0.5", check=0)
    run("report", model, "-o", path, "--examples", source, check=0)
    parsed = Page(path.read_text())
    live = LiveModel.load(model)
    weights = live.model.weights
    bars = [a for a in parsed.find_all("span") if a.get("class") in ("for", "against")]

    # The rarer class lists its features, strongest first, and the other mirrors them.
    rarer, _ = Counter(label for _, _, label in rows).most_common()[1]
    shown_weights = weights[live.model.classes_.index(rarer)]
    expected = ["for" if w > 0 else "against" for w in sorted(shown_weights, key=abs)[::-1]]
    assert "mirror these, apart from their initial values" in path.read_text()
    assert [bar["class"] for bar in bars] == expected
    # Each mistake lists the features that favored the prediction over the label, strongest first.
    row = r'<th scope="row">(\d+)</th><td[^>]*>(up|down)</td>.*<td class="features">(.*)</td></tr>'
    shown = re.findall(row, path.read_text())
    assert len(shown) > 5
    classes, columns = live.model.classes_, live.model.features_
    for number, label, features in shown:
        weight_differences = weights[1 - classes.index(label)] - weights[classes.index(label)]
        x = dict(zip(("wide", "thin"), rows[int(number) - 1], strict=False))
        contributions = sorted(
            ((w * x[name], name) for w, name in zip(weight_differences, columns, strict=True)),
            reverse=True,
        )
        expected = ", ".join(
            f"{name} = {x[name]:.4g}" for contribution, name in contributions if contribution > 0
        )
        assert re.sub("<[^>]*>", "", features) == (expected or "the bias alone")


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
    assert "80 more classes; 1,900 are left out" in text
    assert "Most confused classes" in text
    assert "Confusion matrix" not in text
    assert "These are the 20 classes with the lowest recall; 1,980 more are left out." in text


def test_missing_jinja2_names_the_package_to_install(run, mnist_sample, tmp_path):
    run("learn", mnist_sample, "--limit", "10", "-m", tmp_path / "m.npz", check=0)
    script = "import sys; sys.modules['jinja2'] = None; import runpy; "
    script += "runpy.run_module('stream_perceptron_cli', run_name='__main__')"
    command = [sys.executable, "-c", script, "report", tmp_path / "m.npz"]
    result = subprocess.run(command, capture_output=True, text=True)

    expected = "Error: the report needs jinja2; to install it:\n  pip install jinja2\n"
    assert (result.returncode, result.stderr) == (1, expected)


def test_share_of_updates_is_shown_only_if_it_varies(run, mnist_sample, tmp_path):
    for epsilon, is_shown in (("0", False), ("0.05", True)):
        model, path = tmp_path / f"{epsilon}.npz", tmp_path / f"{epsilon}.html"
        run("learn", mnist_sample, "--lr", "0.1", "--epsilon", epsilon, "-m", model, check=0)
        run("report", model, "-o", path, check=0)
        assert is_shown == ("that changed the weights" in path.read_text())

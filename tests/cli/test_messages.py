"""Messages to users of plain tables, and the results of following them."""

from __future__ import annotations

import json
import pickle
import random
import shlex
import signal
import sqlite3
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest
from helpers import start, wait_for, write_jsonl

from stream_perceptron import LiveModel

HEADER = "a,b,label\n"


@pytest.mark.parametrize(
    ("text", "option"),
    [
        (HEADER + "1,2,x\nNA,3,y\n4,?,x\n", "--missing NA"),
        ("a;b;label\n1;2;x\n3,25;4,5;y\n", "--decimal ,"),
        ('{"a": 1, "y": 0}\n{"a": "n/a", "y": 1}\n', "--missing n/a"),
    ],
)
def test_text_among_numbers_suggests_the_matching_option(text, option, run):
    error, shown = run("learn", input=text, check=1).stderr.splitlines()[-2:]
    assert error.startswith("Error: stdin: row 2: ")
    assert "; --skip-bad skips such rows; to " in error
    assert shown == f"  {option}"
    again = run("learn", *option.split(), input=text.replace("?", "NA"), check=0)
    assert "skipped" not in again.stderr


@pytest.mark.parametrize("row", [0, 1])
def test_quoted_numbers_are_explained(row, run, tmp_path):
    rows = [{"my key": 1.5, "b": 1, "y": 0}, {"my key": 2.5, "b": 2, "y": 1}]
    rows[row] = rows[row] | {"my key": str(rows[row]["my key"])}
    notices = run("learn", write_jsonl(tmp_path / "s.jsonl", rows)).stderr

    assert "numbers in JSON have no quotes" in notices
    assert "--one-hot" not in notices


@pytest.mark.parametrize("texts", [["$1,200", "$12.30"], ["12 %", "7%"], ["1 234,5 kg", "3 kg"]])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_formatted_numbers_are_explained(form, texts, run, tmp_path):
    source = tmp_path / f"s.{form}"
    rows = [{"price": text, "b": i, "label": "xy"[i % 2]} for i, text in enumerate(texts * 3)]
    if form == "jsonl":
        write_jsonl(source, rows)
    else:
        lines = [f'"{row["price"]}",{row["b"]},{row["label"]}' for row in rows]
        source.write_text("\n".join(["price,b,label", *lines]) + "\n")
    notices = run("learn", source, check=0).stderr

    assert (
        f"hint: column 'price' has values like {texts[0]!r}, which are not numbers; remove "
        "currency signs, separators and units; to leave it out:\n  --ignore price\n"
    ) in notices
    assert "--one-hot" not in notices


@pytest.mark.parametrize(
    ("option", "column", "ending"),
    [
        ("--label", "lable", "; did you mean 'label'?"),
        ("--ignore", "custommer id", "; did you mean 'customer id'?"),
        ("--one-hot", "zzz", "'label'\n"),
    ],
)
def test_unknown_column_suggests_a_similar_name(option, column, ending, run):
    text = "customer id,city,label\n1,Rome,x\n"
    error = run("learn", option, column, input=text, check=1).stderr

    assert f"column {column!r} among" in error
    assert error.endswith(ending if ending.endswith("\n") else f"{ending}\n")


@pytest.mark.parametrize(
    ("option", "suggestion"), [("--output", ""), ("--target", ""), ("--quite", "--quiet")]
)
def test_unknown_option_suggests_a_similar_one(option, suggestion, run):
    error = run("learn", option, "x", check=2).stderr

    assert f"No such option '{option}'" in error or f"No such option: {option}" in error
    assert bool(suggestion) == ("Did you mean" in error)
    assert suggestion in error


def test_only_a_changed_learning_rate_is_reported(run, tmp_path):
    path = tmp_path / "m.npz"
    args = ["learn", "-m", path, "--lr"]
    for lr, text in (("0.1", HEADER + "1,2,x\n"), ("0.1", "3,4,y\n"), ("0.2", "5,6,x\n")):
        notices = run(*args, lr, input=text, check=0).stderr

        assert (lr == "0.2") == ("lr is 0.2 from now on" in notices)
        assert "lr is 0.1" not in notices


def test_short_options(run):
    assert run("-V", check=0).stdout == run("--version", check=0).stdout
    assert run("learn", "-q", input=HEADER + "1,2,x\n3,4,y\n", check=0).stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_reports_the_saved_model(number, tmp_path):
    path = tmp_path / "m.npz"
    process = start("-m", path, "--save-every", "1", stdin=-1)
    process.stdin.write(HEADER + "1,2,x\n")
    process.stdin.flush()
    wait_for(path.exists, process)
    process.send_signal(number)
    last_line = process.communicate()[1].splitlines()[-1]

    assert last_line == ("interrupted; " if number == signal.SIGINT else "") + f"saved {path}"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_unlabeled_rows_are_counted_and_need_predictions(form, run, tmp_path):
    """Both formats give the same error."""
    some_labels = ["x", None, "y", None]
    for name, labels in (("some", some_labels), ("none", [None] * 4)):
        rows = [{"a": i, "label": label} for i, label in enumerate(labels)]
        source = tmp_path / f"{name}.{form}"
        if form == "csv":
            source.write_text("a,label\n" + "".join(f"{r['a']},{r['label'] or ''}\n" for r in rows))
        else:
            write_jsonl(source, [{k: v for k, v in row.items() if v is not None} for row in rows])
    notices = run("learn", tmp_path / f"some.{form}", check=0).stderr
    error = run("learn", tmp_path / f"none.{form}", check=1).stderr.splitlines()[-1]
    predicted = run("learn", tmp_path / f"none.{form}", "-p", "-", check=0).stdout

    assert "unlabeled: 2 rows, only predicted\n" in notices
    assert error == (
        f"Error: {tmp_path / 'none'}.{form}: no row has a label: name the label column with "
        "--label, or ask for predictions with -p"
    )
    assert predicted.count("\n") == 4


def test_unsupported_files_are_explained(run, tmp_path):
    text = "a,label\n1,x\n2,y\n"
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "u.csv").write_bytes(text.encode("utf-16"))
    with sqlite3.connect(tmp_path / "t.db") as database:
        database.execute("create table t(a, label)")
    database.close()
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"a": [1]}))
    with tarfile.open(tmp_path / "t.tgz", "w:gz") as archive:
        archive.add(tmp_path / "t.csv", "t.csv")
    for name, entry in (("t.zip", "t.csv"), ("t.xlsx", "[Content_Types].xml")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(tmp_path / "t.csv", entry)
    np.save(tmp_path / "t.npy", np.zeros(3))
    np.savez(tmp_path / "t.npz", x=np.zeros(3))
    (tmp_path / "t.json").write_text('[{"a": 1}]\n')
    run("learn", "t.csv", "-m", "m.npz", cwd=tmp_path, check=0)
    explanations = {
        "u.csv": "text in UTF-16: convert it to UTF-8",
        "t.db": "a SQLite database: export a table",
        "t.pkl": "a pickle, which may run arbitrary code",
        "t.tgz": "a tar archive: unpack it",
        "t.zip": "a ZIP archive: unpack it",
        "t.xlsx": "a spreadsheet: save it as CSV",
        "t.npy": "a NumPy array: save it as CSV",
        "t.npz": "NumPy arrays: save features and labels as CSV",
        "t.json": "a JSON array of objects: write one object per line",
        "m.npz": "a saved model, not samples",
        "https://me:secret@example.invalid/a.csv": "a web address: download the file",
    }
    for name, explanation in explanations.items():
        error = run("learn", name, cwd=tmp_path, check=1).stderr
        assert error.count("\n") == 1
        assert error.startswith(f"Error: {name.replace('me:secret@', '')}: {explanation}")


def test_folders_and_patterns_are_explained(run, tmp_path):
    (tmp_path / "b.parquet").touch()
    error = run("learn", tmp_path, check=1).stderr
    pattern_error = run("learn", f"{tmp_path}/*.csv", check=1).stderr

    assert error == f"Error: {tmp_path}: a folder; name the files in it: {tmp_path}/*.parquet\n"
    assert "no such file: if any file matches the pattern, unquote it" in pattern_error


def test_text_columns_suggest_options_that_encode_them(run, tmp_path):
    """The suggestion leaves out IDs and numbers, and its options work as printed."""
    rng = random.Random(0)
    lines = ["user id,day,city,the note,price,label"]
    for i in range(400):
        city = rng.choice(["Rome", "New York", "Oslo"])
        note = " ".join(rng.choices(["good", "bad", "day", "long", "night"], k=6))
        label = "y" if (city == "Rome") != (rng.random() < 0.05) else "n"
        lines.append(f"u{i:05},2024-01-{i % 28 + 1:02},{city},{note},{rng.random():.3f},{label}")
    source = tmp_path / "s.csv"
    source.write_text("\n".join(lines) + "\n")
    notices = run("learn", source, check=0).stderr
    before = json.loads(run("learn", source, "--json", check=0).stdout)["accuracy"]
    after = json.loads(run("learn", source, "--one-hot", "city", "--json", check=0).stdout)

    assert (
        "ignored (strings): user id, day, city, the note; to use day, city, the note:\n"
        "  --dates day --one-hot city --words 'the note'\n" in notices
    )
    assert after["accuracy"] > before + 0.2


def test_suggested_column_names_are_quoted_for_the_shell(run):
    text = "customer's id,b,label\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(50))
    notices = run("learn", input=text, check=0).stderr
    lines = notices.splitlines()
    (number,) = (i for i, line in enumerate(lines) if "row number" in line)

    option = shlex.split(lines[number + 1])
    assert option == ["--ignore", "customer's id"]
    assert "warning" not in run("learn", *option, input=text, check=0).stderr


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_evaluate_and_predict_find_a_renamed_label_column(command, run, tmp_path):
    path = tmp_path / "m.npz"
    run("learn", "--label", "kind", "-m", path, input="a,kind\n1,x\n2,y\n" * 50, check=1)
    run("learn", "--label", "kind", "-m", path, input="a,kind\n" + "1,x\n2,y\n" * 50, check=0)

    def read_labels(name, *options, check=0):
        """Return the labels that the command found, or its error."""
        text = f"a,{name}\n1,x\n2,y\n"
        result = run(command, "-m", path, *options, input=text, check=check)
        if check:
            return result.stderr
        if command == "evaluate":
            return [row["class"] for row in json.loads(result.stdout)["per_class"]]
        return [json.loads(line)["label"] for line in result.stdout.splitlines()]

    extra_options = ["--json"] if command == "evaluate" else []
    assert read_labels("kind", *extra_options) == ["x", "y"]
    assert read_labels("class", *extra_options) == ["x", "y"]  # found by its usual name
    assert read_labels("verdict", "--label", "verdict", *extra_options) == ["x", "y"]
    assert read_labels("verdict", "--label", "2", *extra_options) == ["x", "y"]
    error = read_labels("class", "--label", "klass", *extra_options, check=1)
    assert "there is no label column 'klass'" in error
    assert "did you mean 'class'?" in error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a|b|label\n1|2|x\n3|4|y\n", ["--delimiter", "|"]),
        ("a b  label\n1  2 x\n 3 4 y \n", ["--delimiter", "space"]),
        ("a\tb\tlabel\n1\t2\tx\n3\t4\ty\n", ["--delimiter", "tab"]),
        ("a;b;label\n1,0;2,0;x\n3,0;4;y\n", ["--decimal", ","]),
        ("1,0|2,0|x\n3,0|4|y\n", ["--delimiter", "|", "--decimal", ",", "--label", "-1"]),
    ],
)
def test_delimiter_and_decimal_options_give_the_model_of_plain_csv(text, options, run, tmp_path):
    """The model stores the options: later runs check them, and `predict` uses them."""
    names = [] if text.startswith("1") else ["a", "b"]
    plain = "a,b,label\n1,2,x\n3,4,y\n" if names else "1,2,x\n3,4,y\n"
    extra_options = options[-2:] if "--label" in options else []
    path, expected = tmp_path / "m.npz", tmp_path / "expected.npz"
    source, plain_source = tmp_path / "s.csv", tmp_path / "plain.csv"
    source.write_text(text)
    plain_source.write_text(plain)
    run("learn", plain_source, *extra_options, "-m", expected, check=0)
    run("learn", source, *options, "-m", path, "--limit", "1", check=0)
    mismatch_error = run("learn", source, *options[:1], ";" if options[0] == "--delimiter" else ".",
                  "-m", path, check=1).stderr  # fmt: skip
    run("learn", source, *options, "-m", path, check=0)
    predicted = run("predict", source, "-m", path, check=0).stdout

    assert f"{options[0]} cannot change for an existing model (it is " in mismatch_error
    live, reference = LiveModel.load(path), LiveModel.load(expected)
    assert live.model.weights.tobytes() == reference.model.weights.tobytes()
    assert predicted == run("predict", plain_source, "-m", expected, check=0).stdout
    assert "every bit" in run("verify", path, source, check=0).stdout


def test_libsvm_comments_are_not_rows(run, tmp_path):
    lines = ["1 a:1 b:2", "0 a:2", "1 b:3 # at the end", "0 a:1 b:1"]
    plain = "\n".join(lines) + "\n"
    text = "# first\n#second\n" + plain.replace("\n0", "\n#\n#0 a:1\n0")
    source, path, expected = (tmp_path / n for n in ("s", "m.npz", "e.npz"))
    source.write_text(text)
    run("learn", source, "-m", path, "--limit", "2", check=0)
    notices = run("learn", source, "-m", path, check=0).stderr
    run("learn", "-m", expected, input=plain, check=0)
    run("learn", "-m", tmp_path / "p.npz", input=text, check=0)

    assert "resuming" in notices
    for model_path in (path, tmp_path / "p.npz"):
        live, reference = LiveModel.load(model_path), LiveModel.load(expected)
        assert (live.progress.samples, live.progress.skipped) == (4, 0)
        assert live.model.weights.tobytes() == reference.model.weights.tobytes()
    assert "every bit" in run("verify", path, source, check=0).stdout
    assert "2 features" in run("learn", input="#a,b,label\n1,2,x\n", check=0).stderr


def test_latin_1_file_suggests_iconv(run, tmp_path):
    source = tmp_path / "s.csv"
    source.write_bytes("a,label\n1,né\n2,y\n".encode("latin1"))
    error = run("learn", source, check=1).stderr
    iconv = ["iconv", "-f", "LATIN1", "-t", "UTF-8", source]
    converted = subprocess.run(iconv, capture_output=True, check=True).stdout

    assert "iconv -f LATIN1 -t UTF-8" in error
    assert "né".encode() in converted


def test_renamed_label_column_gets_advice_that_works(run, tmp_path):
    """The --label of a model is fixed, so the advice is to rename the column."""
    path = tmp_path / "m.npz"
    run("learn", "-m", path, input="a,label\n1,x\n2,y\n", check=0)
    later_error = run("learn", "-m", path, input="a,kind\n3,x\n", check=1).stderr
    first_error = run("learn", input="a,kind\n3,x\n", check=1).stderr

    assert "rename it, or ask for predictions" in later_error
    assert "name it with --label, or ask for predictions" in first_error


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a;label\n1,5;x\n2,5;y\n", ["--decimal", ","]),
        ("a|label\n1.5|x\n2.5|y\n", ["--delimiter", "|"]),
        ("a,label\n1.5,x\nNA,y\n", ["--missing", "NA"]),
    ],
)
def test_evaluate_and_predict_accept_other_read_options(text, options, run, tmp_path):
    path = tmp_path / "m.npz"
    run("learn", "-m", path, input="a,label\n" + "1.5,x\n2.5,y\n" * 50, check=0)
    error = run("evaluate", "-m", path, input=text, check=1).stderr
    run("evaluate", "-m", path, *options, input=text, check=0)
    predicted = run("predict", "-m", path, *options, input=text, check=0).stdout.splitlines()

    assert error.count("\n") == 1 + error.count("\n  --")
    assert [json.loads(line)["label"] for line in predicted] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("a;b;label\n1,5;2,5;x\n3,5;4,5;y\n", "--decimal ,"),
        ("a|b|label\n1|2|x\n", "--delimiter '|'"),
        ("a b label\n1 2 x\n", "--delimiter space"),
    ],
)
def test_table_with_only_texts_suggests_decimal_or_delimiter(text, suggestion, run):
    error = run("learn", "--label", "1", input=text, check=1).stderr
    if "no usable features" not in error:
        error = run("learn", "-p", "-", input=text, check=1).stderr

    assert error.endswith(f":\n  {suggestion}\n")
    run("learn", *shlex.split(suggestion), input=text, check=0)


def test_delimiter_option_overrides_libsvm_detection(run):
    for header, option in (("x:z:label\n1:2:a\n3:4:b\n", ":"), ("x\tt:1\ty:2\n1\t2\ta\n", "tab")):
        extra_options = ["--label", "y:2"] if option == "tab" else []
        notices = run("learn", "--delimiter", option, *extra_options, input=header, check=0).stderr
        assert notices.startswith("2 features, standardized: ")


@pytest.mark.parametrize("label", ["label", "3"])
def test_label_option_applies_to_rows_without_names(label, run, tmp_path):
    path, rows = tmp_path / "m.npz", "0.1,100,p\n0.2,5,q\n"
    run("learn", "-m", path, input="a,b,label\n" + rows * 20, check=0)
    shown = run("evaluate", "-m", path, "--label", label, "--json", input=rows, check=0).stdout
    predicted = run("predict", "-m", path, "--label", label, input="0.1,100,\n", check=0).stdout

    assert json.loads(shown)["samples"] == 2
    assert json.loads(predicted)["label"] is None


def test_sweep_accepts_standardize_without_a_value(run, tmp_path):
    source = tmp_path / "s.csv"
    source.write_text(HEADER + "1,2,x\n3,1,y\n" * 50)
    shown = run("sweep", source, "--standardize", "--lr", "0.1,1", check=0).stdout
    best = shlex.split(shown.splitlines()[-1])[1:]

    assert "--standardize" in best
    run(*best, cwd=tmp_path, check=0)
    assert LiveModel.load(tmp_path / "model.npz").read_options.standardize


@pytest.mark.parametrize("first", ["label", "y"])
@pytest.mark.parametrize("value", ["x", 1, None], ids=["text", "number", "null"])
def test_second_usual_label_name_is_warned_about_once(first, value, run, tmp_path):
    """The first labeled row fixes the key."""
    other = "y" if first == "label" else "class"
    rows = [{"a": i, first: "uv"[i % 2]} for i in range(20)]
    rows += [{"a": i, other: value} for i in range(20)] * 3
    source = write_jsonl(tmp_path / "s.jsonl", rows)

    result = run("learn", source, "-m", tmp_path / "m.npz", "--skip-bad", check=0)

    warning = (
        f"warning: '{other}' is not read as the label, which is '{first}': rename it, or start "
    )
    warning += f"over with another label; to use it:\n  --label {other}\n"
    assert result.stderr.count(warning) == 1
    live = LiveModel.load(tmp_path / "m.npz")
    assert (live.progress.samples, live.progress.unlabeled) == (20, 60)
    assert live.schema.label == first


def test_label_key_keeps_the_case_of_the_first_row(run, tmp_path):
    rows = [{"a": 1, "Label": "u"}, {"a": 2, "label": "v"}, {"a": 3, "Label": "v"}]
    source = write_jsonl(tmp_path / "s.jsonl", rows)

    run("learn", source, "-m", tmp_path / "m.npz", "--label", "label", check=0)

    live = LiveModel.load(tmp_path / "m.npz")
    assert (live.progress.samples, live.progress.unlabeled) == (2, 1)
    assert live.model.classes_ == ["u", "v"]


def test_rows_with_only_texts_suggest_encoding_options(tmp_path, run):
    """A model with only biases learns nothing; after a row with a number, others may lack it."""
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"t": "a", "u": "b", "label": "x"}] * 3)
    mixed = [{"t": "a"}, {"b": 1, "label": "x"}, {"t": "a", "label": "y"}]
    mixed = write_jsonl(tmp_path / "mixed.jsonl", mixed)
    error = run("learn", texts, check=1).stderr

    assert error == (
        f"Error: {texts}: row 1: it has no feature, because 't', 'u' are strings; --skip-bad skips "
        "such rows; to encode them:\n  --one-hot t,u\n"
    )
    for source, options in ((texts, ["--one-hot", "t,u"]), (mixed, [])):
        run("learn", source, *options, check=0)


OPTIONS_WITH_COLUMN_NAMES = ["--one-hot", "--ignore", "--weight", "--keep"]


@pytest.mark.parametrize("option", OPTIONS_WITH_COLUMN_NAMES)
@pytest.mark.parametrize("form", ["flat", "object", "late"])
def test_column_name_that_no_row_has_is_a_warning(option, form, tmp_path, run):
    rows = [{"amount": i, "b": 1.0, "plan": "p", "label": "xy"[i % 2]} for i in range(300)]
    is_weight = option == "--weight"
    for i, row in enumerate(rows):
        if is_weight:
            row["plan"] = 1
        if form == "late" and i < 299:
            del row["plan"]
    if form == "object":
        nested_names = ("amount", "b", "plan") if option == "--one-hot" else ("amount", "b")
        for row in rows:
            row["features"] = {name: row.pop(name) for name in nested_names}
    source = write_jsonl(tmp_path / "s.jsonl", rows)
    output = ["-p", tmp_path / "p.jsonl"]
    right = run("learn", source, option, "plan", *output, "-q", check=0).stderr
    wrong = run("learn", source, option, "plann", *output, "-q", check=0).stderr

    assert "plan" not in right
    (line,) = [line for line in wrong.splitlines() if "plann" in line]
    assert line.startswith(f"warning: {option} plann: no row had 'plann'")


def test_column_name_that_a_table_lacks_is_an_error(tmp_path, run):
    source = tmp_path / "s.csv"
    source.write_text("a,plan,label\n1,p,x\n")

    assert "'plann'" in run("learn", source, "--one-hot", "plann", check=1).stderr
    assert run("learn", source, "--one-hot", "plan", "--ignore", "a", "-q", check=0).stderr == ""

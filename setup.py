"""Builds the compiled modules; without a compiler the package runs without."""

from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

# Fused multiply-adds would make the bits depend on how a loop was compiled, and no square root here
# is of a negative number, which alone would set errno.
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-g0"]

KERNEL = "stream_perceptron/model/kernel"
SOURCES = [
    f"{KERNEL}/_compiled.pyx",
    "stream_perceptron/model/_elementary.pyx",
    "stream_perceptron/data/_text.pyx",
]

extensions = cythonize(
    [
        Extension(
            source.removesuffix(".pyx").replace("/", "."),
            [source],
            include_dirs=[KERNEL],
            depends=glob(f"{KERNEL}/*.h"),
            extra_compile_args=FLAGS,
        )
        for source in SOURCES
    ],
    build_dir="build",
)
for extension in extensions:
    extension.optional = True

setup(ext_modules=extensions, options={"build_ext": {"parallel": len(extensions)}})

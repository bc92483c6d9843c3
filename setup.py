"""Builds the compiled kernel and reader of text; without a compiler the package runs without."""

from Cython.Build import cythonize
from setuptools import Extension, setup

# Fused multiply-adds would make the bits depend on how a loop was compiled, and no square root here
# is of a negative number, which alone would set errno.
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno"]

extensions = cythonize(
    [
        Extension(
            "stream_perceptron.model.kernel._compiled",
            ["stream_perceptron/model/kernel/_compiled.pyx"],
            include_dirs=["stream_perceptron/model/kernel"],
            depends=["stream_perceptron/model/kernel/loops.h"],
            extra_compile_args=FLAGS,
        ),
        Extension(
            "stream_perceptron.data._text",
            ["stream_perceptron/data/_text.pyx"],
            extra_compile_args=FLAGS,
        ),
    ],
    build_dir="build",
)
for extension in extensions:
    extension.optional = True

setup(ext_modules=extensions, options={"build_ext": {"parallel": len(extensions)}})

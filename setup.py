"""Builds the compiled kernel; without a compiler the package runs on NumPy."""

from Cython.Build import cythonize
from setuptools import Extension, setup

extensions = cythonize(
    Extension(
        "stream_perceptron.model.kernel._compiled",
        ["stream_perceptron/model/kernel/_compiled.pyx"],
        include_dirs=["stream_perceptron/model/kernel"],
        depends=["stream_perceptron/model/kernel/loops.h"],
        # Fused multiply-adds would make the bits depend on how a loop was compiled.
        # No square root here is of a negative number, which alone would set errno.
        extra_compile_args=["-O3", "-ffp-contract=off", "-fno-math-errno"],
    ),
    build_dir="build",
)
for extension in extensions:
    extension.optional = True

setup(ext_modules=extensions)

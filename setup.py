"""Builds the compiled kernel; without a compiler the package runs on NumPy."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        Extension(
            "stream_perceptron._kernel",
            ["stream_perceptron/_kernel.pyx"],
            depends=["stream_perceptron/lanes.h"],
            # Fused multiply-adds would make the bits depend on how a loop was compiled.
            extra_compile_args=["-O3", "-ffp-contract=off"],
            optional=True,
        )
    )
)

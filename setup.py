"""Builds the compiled kernel; without a compiler the package runs on NumPy."""

from Cython.Build import cythonize
from setuptools import Extension, setup

extensions = cythonize(
    Extension(
        "stream_perceptron._kernel",
        ["stream_perceptron/_kernel.pyx"],
        include_dirs=["stream_perceptron"],
        depends=["stream_perceptron/lanes.h"],
        # Fused multiply-adds would make the bits depend on how a loop was compiled.
        extra_compile_args=["-O3", "-ffp-contract=off"],
    ),
    build_dir="build",
)
for extension in extensions:
    extension.optional = True

setup(ext_modules=extensions)

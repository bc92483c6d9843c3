"""Default values of a model's parameters, which several functions share.

The options of the command line repeat them, as its help must not wait for this package.
"""

LR = 0.01
EPSILON = 3e-6
INIT_RANGE = 0.03
ACTIVATION = "sigmoid"
MAX_WEIGHTS = 2**27

"""Default values of a model's parameters, shared by several functions.

The command-line options repeat these values, because printing the help must not wait for this
package to be imported.
"""

EPSILON = 3e-6
INIT_RANGE = 0.03
ACTIVATION = "sigmoid"
MAX_WEIGHTS = 2**27

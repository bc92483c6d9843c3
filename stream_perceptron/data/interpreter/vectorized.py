"""Vectorized interpretation of records with known names and with cells of the expected kinds.

It gives the same samples as `interpret_record`, to which all other records are deferred.
"""

from __future__ import annotations

from stream_perceptron.data.cells import Cells
from stream_perceptron.data.interpreter.block_reader import InterpretedBlock
from stream_perceptron.data.interpreter.context import Context
from stream_perceptron.data.interpreter.name_roles import NameRoles
from stream_perceptron.data.interpreter.record_blocks import PairBlockReader, RecordBlockReader
from stream_perceptron.data.interpreter.table_blocks import TableBlockReader
from stream_perceptron.data.naming import is_position


def interpret_block(context: Context, cells: Cells, names: NameRoles) -> InterpretedBlock | None:
    """Interpret many records at once; return None if this is possible for none of them."""
    options = context.read_options
    if context.columns is not None:
        return TableBlockReader(context, cells).interpret(names)
    if context.has_pairs:
        return PairBlockReader(context, cells).interpret(names)
    if options.label is not None and context.schema.label is None and is_position(options.label):
        return None
    if context.schema.key is None or options.is_label_required:
        return None
    return RecordBlockReader(context, cells).interpret(names)

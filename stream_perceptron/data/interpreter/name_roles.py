"""The roles of the names in records."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import compress, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.cells import UNNAMED_LIST
from stream_perceptron.data.interpreter.context import Context
from stream_perceptron.data.interpreter.table_layout import TableLayout
from stream_perceptron.data.naming import LABEL_NAMES
from stream_perceptron.data.schema import Schema
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import NamesPrefix, Vocabulary


class NameRole:
    """The roles of names in records: plain integers, because 8-bit integer arrays hold them."""

    IGNORED = 0
    FEATURE = 1
    UNTYPED = 2  # the first number makes the name a feature
    TEXT = 3
    LABEL = 4
    WEIGHT = 5
    ENCODED = 6
    DEFERRED = 7  # a record with this name is left to `interpret_record`
    UNKNOWN = 8  # the name is absent from a model trained on a table


class NameRoles:
    """The roles of the names of a source, kept from one block to the next.

    Names are only ever appended, so each is examined once, unless the schema changes.

    Attributes
    ----------
    feature_ids
        The feature ID of each name, or -1 if there is none.
    roles
        The role of each name.
    is_inside
        Whether each name is inside the object with the features, if there is one.
    plain_features
        The feature ID of each name without another role; -1 for other names, whose cells are
        examined.

    """

    def __init__(self) -> None:
        self._schema: Schema | None = None
        self._vocabulary: Vocabulary | None = None
        self._names: Sequence[Hashable] = ()
        self._layout: tuple[Context, TableLayout] | None = None

    @property
    def features(self) -> list[Any]:
        """The names of features and of numbers that may become features.

        Known features come first, in the order of the model.
        """
        return self._features.names

    def update(self, context: Context, names: Sequence[Hashable]) -> None:
        """Update the roles for the names of a block."""
        schema, vocabulary = context.schema, context.vocabulary
        are_more = isinstance(names, NamesPrefix) and names.has_same_list_as(self._names)
        if schema != self._schema or vocabulary is not self._vocabulary or not are_more:
            first = vocabulary.names if schema.features is None else schema.features
            self._features = Vocabulary(map(str, first))
            self._first_ids = dict(self._features.ids_by_name)  # of the features known at first
            self._new_features: tuple[list[str], NDArray[np.intp]] = [], np.empty(0, np.intp)
            self._is_known = np.ones(len(first), bool)
            self._name_ids = np.full(len(first), -1, np.intp)  # of each feature, -1 if it is absent
            self.roles, self.is_inside = np.empty(0, np.int8), np.empty(0, bool)
            self.feature_ids = self.plain_features = np.empty(0, np.int32)
            self.are_all_plain = True
            self._ids_by_name: dict[Hashable, int] = {}
            self._last_ids, self._last_features = np.empty(0, np.int32), ()
            self._n_known = len(vocabulary)
        self._schema, self._vocabulary, self._names = schema, vocabulary, names
        if len(self.roles) < len(names):
            self._add(context, names[len(self.roles) :])
        if self._n_known < len(vocabulary):
            self._mark_as_known(vocabulary.names[self._n_known :])
            self._n_known = len(vocabulary)

    def _mark_as_known(self, learned: list[Hashable]) -> None:
        """Make untyped names features: a model without columns has learned them."""
        new, ids = self._new_features
        if learned != new:
            ids = np.array([*map(self._features.ids_by_name.get, learned, repeat(-1))], np.intp)
            ids = ids[ids >= 0]
        self._is_known[ids] = True
        name_ids = self._name_ids[ids]
        self.roles[name_ids[name_ids >= 0]] = NameRole.FEATURE

    def _add(self, context: Context, paths: Sequence[Any]) -> None:
        """Add names to those of the source."""
        n_before, n = len(self.roles), len(paths)
        special_names, object_prefixes = _find_special_names(context)
        schema, prefix = context.schema, f"{context.schema.key}." if context.schema.key else ""
        names, is_inside = paths, np.ones(n, bool)
        if prefix:
            names = [path[len(prefix) :] for path in paths]
            is_inside = np.fromiter(map(str.startswith, paths, repeat(prefix)), bool, n)
        roles = _find_roles(context, paths, names, is_inside, special_names, object_prefixes)
        is_feature = roles == NameRole.UNTYPED
        features = names if is_feature.all() else list(compress(names, is_feature.tolist()))
        ids = self._add_features(context, features)
        self._name_ids[ids] = n_before + np.flatnonzero(is_feature)
        roles[is_feature] = np.where(self._is_known[ids], NameRole.FEATURE, NameRole.UNTYPED)
        is_plain = is_feature if schema.features is None else roles == NameRole.FEATURE
        feature_ids = np.full(n, -1, np.int32)
        feature_ids[is_feature] = ids
        plain_features = np.where(is_plain, feature_ids, np.int32(-1))
        options = context.read_options
        examined = {*LABEL_NAMES, *options.passthrough, *options.position}
        encoded = [f"{prefix}{name}" for name in options.encoded]
        for name in {*special_names, *examined, schema.key, *encoded}.intersection(paths):
            i = paths.index(name)
            self._ids_by_name[name] = n_before + i
            # Names with a role other than that of a feature are examined.
            if name in examined and not context.has_pairs:
                plain_features[i] = -1
                self.are_all_plain = False
        self.are_all_plain = self.are_all_plain and bool(is_plain.all())
        self.roles = np.concatenate([self.roles, roles])
        self.is_inside = np.concatenate([self.is_inside, is_inside])
        self.feature_ids = np.concatenate([self.feature_ids, feature_ids])
        self.plain_features = np.concatenate([self.plain_features, plain_features])

    def _add_features(self, context: Context, features: Sequence[Any]) -> NDArray[np.int32]:
        """Add the features among new names, and return the ID of each."""
        # Paths are distinct, so a name can only repeat one of the features known at first.
        ids, is_new = np.empty(len(features), np.int32), np.ones(len(features), bool)
        if self._first_ids:
            ids[:] = list(map(self._first_ids.get, features, repeat(-1)))
            is_new = ids < 0
        new = features if is_new.all() else list(compress(features, is_new.tolist()))
        ids[is_new] = len(self.features) + np.arange(len(new))
        self._features.extend(new)
        are_known = np.zeros(len(new), bool)
        if context.schema.features is not None:
            # The model may have features beyond those of the schema.
            are_known[:] = list(map(context.vocabulary.ids_by_name.__contains__, new))
        self._is_known = np.concatenate([self._is_known, are_known])
        self._name_ids = np.concatenate([self._name_ids, np.full(len(new), -1)])
        return ids

    def find_layout(self, context: Context) -> TableLayout:
        """Return the layout of a table: the same object as long as the context is the same."""
        if self._layout is None or self._layout[0] is not context:
            self._layout = context, TableLayout.from_context(context)
        return self._layout[1]

    def find_feature_names(self, ids: NDArray[np.int32]) -> tuple[str, ...]:
        """Return the features of names: the same object as before if the IDs are equal."""
        if not np.array_equal(ids, self._last_ids):
            features = map(self.features.__getitem__, self.feature_ids[ids].tolist())
            self._last_ids, self._last_features = ids.copy(), tuple(features)
        return self._last_features

    def find_id(self, name: str) -> int:
        """Return the ID of a name with a role, or -1 if it does not occur."""
        return self._ids_by_name.get(name, -1)

    def find_new_features(self, features: Rows, is_learned: NDArray[np.bool_]) -> list[str]:
        """Return the features that occur in learned rows but were not known before the block."""
        if self._is_known.all() or not is_learned.any():
            return []
        if features.name_ids is None:
            if features.names is self._last_features:
                ids = self.feature_ids[self._last_ids]
            else:
                ids_by_name = self._features.ids_by_name
                ids = np.array([ids_by_name[str(name)] for name in features.names], np.int32)
            new_ids = ids[~self._is_known[ids]].astype(np.intp)
        else:
            ids = self.feature_ids
            if features.names is not self._names:
                ids = np.arange(len(self.features), dtype=np.int32)
            unknown = np.flatnonzero(~self._is_known[ids])
            found, _ = features.find_first_rows(unknown, is_learned)
            new_ids = np.sort(ids[found]).astype(np.intp)
        names = self.features
        new = [names[i] for i in new_ids.tolist()]
        self._new_features = new, new_ids
        return new


def _find_special_names(context: Context) -> tuple[set[Any], tuple[str, ...]]:
    """Return the names with a role of their own, and the path prefixes of objects with a role."""
    options, schema = context.read_options, context.schema
    if context.has_pairs:
        return set(options.ignore), ()
    labels = LABEL_NAMES if options.label is None else (options.label,)
    special_names = {UNNAMED_LIST, schema.label, options.weight, *options.roles, *options.encoded}
    special_names.update(schema.texts or ())
    prefix = f"{schema.key}." if schema.key else ""
    object_prefixes = {f"{name}." for name in (*options.roles, *labels, schema.label) if name}
    prefixes = (p for p in object_prefixes if p.startswith(prefix) or prefix.startswith(p))
    return special_names, tuple(prefixes)


def _find_roles(
    context: Context,
    paths: Sequence[Any],
    names: Sequence[Any],
    is_inside: NDArray[np.bool_],
    special_names: set[Any],
    object_prefixes: tuple[str, ...],
) -> NDArray[np.int8]:
    """Return the role of each name, given its path; a feature is untyped at first."""
    schema = context.schema
    roles = np.full(len(paths), NameRole.UNTYPED, np.int8)
    accepts_new_features = schema.features is None and not (
        schema.is_list or context.is_vocabulary_fixed
    )
    if (
        accepts_new_features
        and is_inside.all()
        and special_names.isdisjoint(names)
        and not object_prefixes
    ):
        return roles
    expected = None if schema.features is None else {*schema.features, *schema.untyped}
    for i, (path, name) in enumerate(zip(paths, names, strict=True)):
        if (
            not (accepts_new_features and is_inside[i])
            or path in special_names
            or name in special_names
        ):
            role = _find_role(context, path, object_prefixes)
            is_unknown = expected is not None and name not in expected
            roles[i] = NameRole.UNKNOWN if role == NameRole.UNTYPED and is_unknown else role
        elif object_prefixes and path.startswith(object_prefixes):
            roles[i] = NameRole.DEFERRED
    return roles


def _find_role(context: Context, path: str, object_prefixes: tuple[str, ...]) -> int:
    """Return the role of a name, given the path prefixes of objects with a role."""
    options, schema = context.read_options, context.schema
    if context.has_pairs:
        return NameRole.IGNORED if path in options.ignore else NameRole.UNTYPED
    if path == schema.label:
        return NameRole.LABEL
    if path == options.weight:
        return NameRole.WEIGHT
    if path.startswith(object_prefixes):
        return NameRole.DEFERRED
    if path in options.roles:
        return NameRole.IGNORED
    if path in options.encoded and (schema.is_list or schema.key):
        return NameRole.ENCODED
    if schema.is_list or (schema.key and not path.startswith(f"{schema.key}.")):
        return NameRole.IGNORED
    name = path.removeprefix(f"{schema.key}.") if schema.key else path
    if name in (schema.texts or ()):
        return NameRole.TEXT
    if name in options.encoded:
        return NameRole.ENCODED
    if context.is_vocabulary_fixed and name not in context.vocabulary.ids_by_name:
        return NameRole.TEXT
    return NameRole.UNTYPED

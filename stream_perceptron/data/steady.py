"""The interpretation of many records at once, where all names are known and all kinds as expected.

It gives the same samples as `interpret_record`, which takes the records that it leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data import roles
from stream_perceptron.data.cells import Cells, Kind
from stream_perceptron.data.interpreter import BARE_LIST, Context, with_columns_of_table
from stream_perceptron.data.naming import LABEL_NAMES, column_called, is_position
from stream_perceptron.data.schema import Schema
from stream_perceptron.data.text.cells import utf8
from stream_perceptron.data.text.records import DECIMAL_COMMA
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Rows
from stream_perceptron.model.vocabulary import FirstNames, natural_order

# The roles of names.
_IGNORED, _FEATURE, _UNTYPED, _TEXT, _LABEL, _WEIGHT, _ONE_HOT, _ODD = range(8)

Mask = NDArray[np.bool_]


@dataclass(eq=False, repr=False)
class Block:
    """The interpretation of the records of some cells; that of odd ones is undefined."""

    is_odd: Mask  # which records are left out, shape (n,)
    features: Rows
    labels: list[Any]
    weights: NDArray[np.float64]
    missing: NDArray[np.intp]  # the number of missing features of each record
    one_hot: list[list[str | None]]  # for each --one-hot column, the feature of each record
    kept: list[tuple[Any, ...]]
    other_labels: set[str]  # usual names of labels that are no label here

    def __getitem__(self, rows: slice) -> Block:
        return Block(
            self.is_odd[rows], self.features[rows], self.labels[rows], self.weights[rows],
            self.missing[rows], [names[rows] for names in self.one_hot], self.kept[rows],
            self.other_labels,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)


class NameRoles:
    """The roles of the names of a source, kept from one block to the next.

    Names only grow, so each costs time once, unless the schema changes.
    """

    def __init__(self) -> None:
        self._schema: Schema | None = None

    def update(self, context: Context, names: Sequence[str]) -> None:
        """Add the roles of new names, and note which features the schema knows."""
        schema = context.schema
        if self._schema is None or schema != self._schema:
            # Features have numbers of their own: first the known ones, as in the model.
            known = schema.numbers if schema.features is None else schema.features
            self.features: list[Any] = [*map(str, known)]
            self._numbers = {name: i for i, name in enumerate(self.features)}
            self._roles, self.inside = np.empty(0, np.int8), np.empty(0, bool)
            self.feature_ids = np.empty(0, np.int32)  # of each name, -1 for none
            self.known = np.ones(len(self.features), bool)  # by feature
            self._n_numbers = len(schema.numbers)
        self._schema = schema
        n_before = len(self._roles)
        if n_before < len(names):
            self._add(context, names[n_before:])
        n = len(schema.numbers)
        if n > self._n_numbers:
            ids = map(self._numbers.get, islice(schema.numbers, self._n_numbers, n))
            self.known[[i for i in ids if i is not None]] = True
        self._n_numbers = n
        is_known = np.append(self.known, False)[self.feature_ids]
        self.roles = np.where((self._roles == _UNTYPED) & is_known, _FEATURE, self._roles)

    def _add(self, context: Context, paths: Sequence[str]) -> None:
        schema, numbers = context.schema, self._numbers
        prefix = f"{schema.key}." if schema.key else ""
        inside = [path.startswith(prefix) for path in paths]
        new_roles = [_role_of(context, path) for path in paths]
        feature_ids = []
        for path, role in zip(paths, new_roles, strict=True):
            name = path.removeprefix(prefix)
            if role == _UNTYPED and name not in numbers:
                numbers[name] = len(self.features)
                self.features.append(name)
            feature_ids.append(numbers[name] if role == _UNTYPED else -1)
        n_new = len(self.features) - len(self.known)
        self.known = np.concatenate([self.known, np.zeros(n_new, bool)])
        self._roles = np.concatenate([self._roles, np.array(new_roles, np.int8)])
        self.inside = np.concatenate([self.inside, np.array(inside, bool)])
        self.feature_ids = np.concatenate([self.feature_ids, np.array(feature_ids, np.int32)])

    def learn(self, features: Rows, labeled: Mask) -> list[str]:
        """Note the features of labeled rows; return the names of new ones."""
        assert features.name_ids is not None
        if self.known.all():
            return []
        ids = features.name_ids
        if not labeled.all():
            ids = ids[np.repeat(labeled, features.lengths)]
        occurs = np.zeros(len(self.known), bool)
        occurs[ids] = True
        new = np.flatnonzero(occurs & ~self.known).tolist()
        self.known[new] = True
        return [str(self.features[i]) for i in new]


def interpret_block(context: Context, cells: Cells, names: NameRoles) -> Block | None:
    """Return the interpretation of records; None if none of them can be interpreted at once."""
    asked = context.selection
    if asked.position:
        return None
    if context.columns is not None:
        return _Table(context, cells).block()
    if context.are_pairs:
        return _Pairs(context, cells).block(names)
    if asked.label is not None and context.schema.label is None and is_position(asked.label):
        return None
    if context.schema.key is None or asked.is_label_sure:
        return None
    return _Members(context, cells).block(names)


class _Reader:
    """Reads what the formats have in common."""

    def __init__(self, context: Context, cells: Cells) -> None:
        self.context, self.cells = context, cells
        self.asked, self.schema = context.selection, context.schema
        self.n = len(cells)
        self.is_odd = np.zeros(self.n, bool)
        if cells.errors:
            self.is_odd[list(cells.errors)] = True
        self.number_blanks = {
            number for text in self.asked.missing if (number := _number(text)) is not None
        }

    def convert(self, ids: NDArray[np.intp], rows: NDArray[np.intp], meaning: Any) -> list[Any]:
        """Return the meaning of the content of cells by record, None without one.

        A record is odd if `meaning` raises an error.
        """
        found: list[Any] = [None] * self.n
        cache: dict[Any, Any] = {}
        contents = self.cells.contents(ids)
        for row, content in zip(rows.tolist(), contents, strict=True):
            try:
                key = type(content), content
                known = key in cache
            except TypeError:  # a list or an object
                self.is_odd[row] = True
                continue
            if not known:
                try:
                    cache[key] = meaning(content)
                except SampleError:
                    cache[key] = _FAILED
            value = cache[key]
            if value is _FAILED:
                self.is_odd[row] = True
            else:
                found[row] = value
        return found

    def label(self, content: Any) -> Any:
        """Return the label for the content of a cell."""
        is_text = self.context.is_text
        value = roles.present(self._with_point(content), self.asked, is_text)
        if is_text and value is not None:
            value = utf8(value)
        label, schema = self.schema.with_label(value, is_text)
        if label is not None and schema is not self.schema:
            raise SampleError("the record decides the type of labels")
        return label

    def one_hot_feature(self, name: str, content: Any) -> str | None:
        is_text, content = self.context.is_text, self._with_point(content)
        if is_text:
            content = roles.present(content, self.asked, is_text=True)
            content = None if content is None else utf8(content)
        return roles.indicator(name, content, self.asked, is_text)

    def _with_point(self, content: Any) -> Any:
        """Return a content, a decimal comma replaced by a point."""
        is_comma = self.asked.decimal == "," and self.context.is_text and isinstance(content, str)
        return content.replace(",", ".") if is_comma and DECIMAL_COMMA.fullmatch(content) else content

    def are_blank(self, ids: NDArray[np.intp]) -> Mask:
        """Return which cells are texts that mean a missing value."""
        blanks = self.asked.blanks
        return np.array(
            [isinstance(c, str) and c.strip() in blanks for c in self.cells.contents(ids)], bool
        )

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.asked.factor is None:
            return values
        with np.errstate(over="ignore"):
            return values * self.asked.factor


    def table(self, features: tuple[str, ...], values: Any, present: Mask | None) -> Rows:
        """Return rows of values (n, d), as bytes if all are; odd rows may have any."""
        scale = 1.0 if self.asked.scale is None else self.asked.scale
        # Pending samples are saved, so their form may not depend on other rows in the block.
        if present is None and not self.asked.joins and math.isfinite(255 * scale) and values.size:
            with np.errstate(invalid="ignore"):
                pixels = values.astype(np.uint8)
            if (pixels == values).all():
                return Rows.of_table(features, pixels, None, scale)
        finite = np.isfinite(values)
        if not finite.all():
            self.is_odd |= (~finite if present is None else ~finite & present).any(axis=1)
            values = np.where(finite, values, 0.0)
        scaled = self.scaled(values)
        if self.asked.factor is not None and abs(self.asked.factor) > 1:
            self.is_odd |= np.isinf(scaled).any(axis=1)
        return Rows.of_table(features, scaled, present)


_FAILED = object()


class _Table(_Reader):
    """Reads rows of a table."""

    def block(self) -> Block | None:
        context, cells, asked, schema = self.context, self.cells, self.asked, self.schema
        columns = context.columns or ()
        d, n = len(columns), self.n
        index = {name: c for c, name in enumerate(columns)}
        kinds, numbers = cells.kinds.reshape(n, d), cells.numbers.reshape(n, d)
        used = {asked.label, *asked.roles, *context.unused}
        free = [name for name in columns if name not in used]
        known_texts = set(schema.texts or ())
        known: Sequence[str] = schema.features or ()
        if not known and (schema.is_open or not context.learns):
            known = tuple(map(str, natural_order([x for x in free if x in schema.numbers])))
        there = set(free).difference(known_texts, asked.one_hot)
        features = tuple(name for name in known if name in there)
        typed = {*known_texts, *features}
        untyped = [name for name in free if name not in typed]
        one_hot_names = [
            name
            for name in columns
            if name in asked.one_hot and name not in used - context.unused
        ]
        if schema.is_new or not (features or one_hot_names):
            return None
        missing = np.zeros(n, np.intp)
        for name in untyped:
            c = index[name]
            filled = np.flatnonzero(kinds[:, c] != Kind.NULL)
            if len(filled):
                self.is_odd[filled[~self.are_blank(filled * d + c)]] = True
            missing += 1
        at = [index[name] for name in features]
        is_slice = bool(at) and at == list(range(at[0], at[0] + len(at)))
        select: Any = slice(at[0], at[0] + len(at)) if is_slice else at
        values, of = numbers[:, select], kinds[:, select]
        present = None
        if ((of == Kind.TEXT) | (of == Kind.NULL)).any() or self.number_blanks:
            present = (of == Kind.NUMBER) | (of == Kind.BOOL)
            suspects = of == Kind.TEXT
            if self.number_blanks:
                suspects |= present & np.isin(values, list(self.number_blanks))
            rows, places = np.nonzero(suspects)
            if len(rows):
                blank = self.are_blank(rows * d + np.array(at)[places])
                present[rows[blank], places[blank]] = False
                self.is_odd[rows[~blank & (of[rows, places] == Kind.TEXT)]] = True
            missing += np.count_nonzero(~present, axis=1)
        rows_of_features = self.table(features, values, present)
        weights = np.ones(n)
        if asked.weight is not None:
            weights = self._weights(kinds[:, index[asked.weight]], numbers[:, index[asked.weight]],
                                    np.arange(n) * d + index[asked.weight])
        labels: list[Any] = [None] * n
        if asked.label is not None:
            labels = self.convert(np.arange(n) * d + index[asked.label], np.arange(n), self.label)
        one_hot = [
            self.convert(
                np.arange(n) * d + index[name], np.arange(n),
                lambda content, name=name: self.one_hot_feature(name, content),
            )
            for name in one_hot_names
        ]  # fmt: skip
        texts = [name for name in free if name in known_texts]
        try:
            after = with_columns_of_table(context, features, texts, features, untyped, free)
        except SampleError:
            return None
        if after != schema:  # the first learned row changes it
            self.is_odd |= np.array([label is not None or asked.joins for label in labels], bool)
        kept = []
        if asked.kept:
            parts = [
                self.convert(np.arange(n) * d + index[name], np.arange(n), utf8)
                for name in asked.kept
            ]
            kept = list(zip(*parts, strict=True))
        return Block(
            self.is_odd, rows_of_features, labels, weights, missing, one_hot, kept, set()
        )  # fmt: skip

    def _weights(
        self, kinds: NDArray[Any], numbers: NDArray[Any], ids: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        weights = np.where((kinds == Kind.NUMBER) | (kinds == Kind.BOOL), numbers, 1.0)
        self.is_odd |= ~((weights >= 0) & (weights < math.inf))
        suspects = kinds == Kind.TEXT
        if self.number_blanks:
            suspects = kinds != Kind.NULL
        rows = np.flatnonzero(suspects)
        if len(rows):
            blank = self.are_blank(ids[rows])
            weights[rows[blank]] = 1.0
            self.is_odd[rows[~blank & (kinds[rows] == Kind.TEXT)]] = True
        return weights


class _Pairs(_Reader):
    """Reads pairs of names and numbers."""

    def block(self, names: NameRoles) -> Block | None:
        cells, schema = self.cells, self.schema
        if schema.is_new or cells.name_ids is None:
            return None
        names.update(self.context, cells.names)
        of = names.roles[cells.name_ids]
        rows = np.repeat(np.arange(self.n), np.diff(cells.starts))
        chosen = (of == _FEATURE) | (of == _UNTYPED)
        if schema.features is not None:
            self.is_odd[rows[of == _UNTYPED]] = True
        values = self.scaled(cells.numbers)
        self.is_odd[rows[chosen & ~np.isfinite(values)]] = True
        ids = np.flatnonzero(of == _LABEL)
        labels = self.convert(ids, rows[ids], self.label)
        counts = np.bincount(rows[chosen], minlength=self.n)
        features = Rows(
            FirstNames(names.features), np.concatenate([[0], np.cumsum(counts)]),
            names.feature_ids[cells.name_ids[chosen]], values[chosen],
        )  # fmt: skip
        return Block(
            self.is_odd, features, labels, np.ones(self.n), np.zeros(self.n, np.intp), [], [], set()
        )


class _Members(_Reader):
    """Reads records that name their cells."""

    def block(self, table: NameRoles) -> Block | None:
        cells, asked, schema, context = self.cells, self.asked, self.schema, self.context
        assert cells.name_ids is not None
        assert cells.positions is not None
        if schema.is_new:
            return None
        table.update(context, cells.names)
        key, is_list = schema.key or "", schema.is_list
        # Most cells are numbers of known features; all others outside lists are examined.
        is_plain_name = table.roles == _FEATURE
        for name in (*asked.kept, *LABEL_NAMES):
            if (number_of_name := self._id(name)) >= 0:
                is_plain_name[number_of_name] = False
        plain = is_plain_name[cells.name_ids] & (cells.kinds == Kind.NUMBER)
        is_examined = ~plain
        if (cells.kinds == Kind.LIST).any():
            plain &= cells.positions < 0
            is_examined = ~plain & (cells.positions < 0)
        self.outer = np.flatnonzero(is_examined)
        self.rows = np.searchsorted(cells.starts, self.outer, side="right") - 1
        n_plain = self._count(plain)
        self.name_ids = cells.name_ids[self.outer]
        self.numbers = cells.numbers[self.outer]
        kinds = cells.kinds[self.outer]
        of = table.roles[self.name_ids]
        number = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
        heads = (kinds == Kind.LIST) | (kinds == Kind.OBJECT)
        # An object or a list with a role, or among the features, is odd.
        needs_scalar = (of == _LABEL) | (of == _WEIGHT) | (of == _ONE_HOT)
        self._mark(heads & needs_scalar)
        self._mark(of == _ODD)
        label_ids = np.flatnonzero(of == _LABEL)
        labels = self.convert(self.outer[label_ids], self.rows[label_ids], self.label)
        labeled = np.array([label is not None or asked.joins for label in labels], bool)
        weights = np.ones(self.n)
        weight_ids = np.flatnonzero(of == _WEIGHT)
        if len(weight_ids):
            weights[self.rows[weight_ids]] = np.where(
                kinds[weight_ids] == Kind.NULL, 1.0, self.numbers[weight_ids]
            )
            self._mark((of == _WEIGHT) & (kinds == Kind.TEXT))
            self.is_odd |= ~((weights >= 0) & (weights < math.inf))
            weights = np.where(np.isfinite(weights), weights, 1.0)
        missing = np.zeros(self.n, np.intp)
        if is_list:
            features = self._list(key, missing)
        else:
            lacks_object = np.zeros(self.n, bool)
            if key:
                has_object = np.zeros(self.n, bool)
                at = (self.name_ids == self._id(key)) & (kinds == Kind.OBJECT)
                has_object[self.rows[at]] = True
                lacks_object = ~has_object
                self._mark((kinds == Kind.OBJECT) & table.inside[self.name_ids])
            is_feature = (of == _FEATURE) | (of == _UNTYPED)
            self._mark((kinds == Kind.LIST) & is_feature)
            null = is_feature & (kinds == Kind.NULL)
            texts = np.flatnonzero(is_feature & (kinds == Kind.TEXT))
            if len(texts):
                blank = self.are_blank(self.outer[texts])
                null[texts[blank]] = True
                others = texts[~blank]
                is_known = of[others] == _FEATURE
                self.is_odd[self.rows[others[is_known | labeled[self.rows[others]]]]] = True
            missing += np.bincount(self.rows[null], minlength=self.n)
            if schema.features is not None:  # a table: the record decides, or may not add it
                self._mark(number & (of == _UNTYPED))
            chosen = is_feature & number
            is_text = ((of == _TEXT) | (of == _ONE_HOT)) & table.inside[self.name_ids]
            n_inside = n_plain + np.bincount(self.rows[is_feature | is_text], minlength=self.n)
            n_numbers = n_plain + np.bincount(self.rows[chosen], minlength=self.n)
            if asked.joins:  # a label comes in a record of its own
                is_other = (of != _LABEL) & (of != _WEIGHT) & (kinds != Kind.NULL)
                is_other &= ~np.isin(self.name_ids, [self._id(name) for name in asked.roles])
                has_others = n_plain + np.bincount(self.rows[is_other], minlength=self.n) > 0
                self.is_odd |= has_others & ((n_numbers == 0) | lacks_object)
                missing[~has_others] = 0
            else:
                self.is_odd |= (n_inside == 0) | lacks_object
            # The first learned value of a --one-hot column makes it a column of texts.
            prefix = f"{key}." if key else ""
            new = [n for n in asked.one_hot if n not in (schema.texts or ())]
            is_new = np.isin(self.name_ids, [self._id(prefix + name) for name in new])
            self._mark(is_text & is_new & labeled[self.rows])
            if texts.size:
                # A later record may decide that a name with texts has numbers.
                numeric = np.zeros(len(table.roles), bool)
                numeric[self.name_ids[chosen & (of == _UNTYPED)]] = True
                self.is_odd[self.rows[texts[numeric[self.name_ids[texts]]]]] = True
            plain[self.outer[chosen]] = True
            features = self._features(plain, table)
        one_hot = []
        for name in asked.one_hot:
            # A column may stand among the features, or beside them.
            for path in [f"{key}.{name}", name] if key and not is_list else [name]:
                ids = self._ids(path)
                one_hot.append(
                    self.convert(
                        self.outer[ids], self.rows[ids], lambda content, n=name: self.one_hot_feature(n, content)
                    )
                )
        kept = []
        if asked.kept:
            parts = []
            for name in asked.kept:
                ids = self._ids(name)
                self.is_odd[self.rows[ids[(kinds[ids] == Kind.LIST) | (kinds[ids] == Kind.OBJECT)]]] = True
                found = [None] * self.n
                contents = cells.contents(self.outer[ids])
                for row, content in zip(self.rows[ids].tolist(), contents, strict=True):
                    found[row] = content
                parts.append(found)
            kept = list(zip(*parts, strict=True))
        others = set()
        if schema.label is not None:
            for name in LABEL_NAMES:
                if name != schema.label and self._id(name) >= 0:
                    ids = self._ids(name)
                    if context.learns:
                        if len(ids):
                            others.add(name)
                    else:
                        has_label = np.zeros(self.n, bool)
                        has_label[self.rows[label_ids]] = True
                        at = self.rows[ids]
                        self.is_odd[at[~has_label[at]]] = True
        elif not asked.joins:
            for name in cells.names:
                is_called = asked.label is not None and column_called(asked.label, [name])
                if name.strip().lower() in LABEL_NAMES or is_called:
                    self.is_odd[self.rows[self._ids(name)]] = True
        if not (schema.columns or is_list) or schema.label is None:
            self.is_odd |= labeled  # the first learned record has the columns
        return Block(self.is_odd, features, labels, weights, missing, one_hot, kept, others)

    def _id(self, path: str) -> int:
        """Return the number of a name; -1 if it does not occur."""
        return self.cells.number_of(path)

    def _ids(self, name: str) -> NDArray[np.intp]:
        return np.flatnonzero(self.name_ids == self._id(name))

    def _mark(self, some: Mask) -> None:
        self.is_odd[self.rows[some]] = True

    def _count(self, some: Mask) -> NDArray[np.intp]:
        """Return the number of some cells in each record; fast for few and for most of them."""
        starts = self.cells.starts
        few = np.flatnonzero(some)
        are_most = 2 * len(few) > len(some)
        if are_most:
            few = np.flatnonzero(~some)
        counts = np.bincount(np.searchsorted(starts, few, side="right") - 1, minlength=self.n)
        return np.diff(starts) - counts if are_most else counts

    def _features(self, chosen: Mask, table: NameRoles) -> Rows:
        cells = self.cells
        values = self.scaled(cells.numbers[chosen])
        starts = np.concatenate([[0], np.cumsum(self._count(chosen))])
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            self.is_odd[np.searchsorted(starts, bad, side="right") - 1] = True
        feature_ids = table.feature_ids[cells.name_ids[chosen]]
        return Rows(FirstNames(table.features), starts, feature_ids, values)

    def _list(self, key: str, missing: NDArray[np.intp]) -> Rows:
        """Return the features in lists, whose members follow the heads."""
        cells, features = self.cells, self.schema.features or ()
        d = len(features)
        is_head = (self.name_ids == self._id(key)) & (cells.kinds[self.outer] == Kind.LIST)
        heads = np.flatnonzero(is_head)
        firsts = self.outer[heads] + 1
        counts = np.append(self.outer, len(cells.kinds))[heads + 1] - firsts
        fits = np.zeros(self.n, bool)
        fits[self.rows[heads[counts == d]]] = True
        self.is_odd |= ~fits
        values, kinds = np.zeros((len(firsts), d)), np.empty((len(firsts), d), np.uint8)
        firsts = firsts[counts == d]
        values, kinds = values[: len(firsts)], kinds[: len(firsts)]
        for i, first in enumerate(firsts.tolist()):
            values[i], kinds[i] = cells.numbers[first : first + d], cells.kinds[first : first + d]
        present = None
        if (kinds != Kind.NUMBER).any():
            present = (kinds == Kind.NUMBER) | (kinds == Kind.BOOL)
            rows = np.flatnonzero(fits)
            null = kinds == Kind.NULL
            self.is_odd[rows[(~present & ~null).any(axis=1)]] = True
            missing[rows] += np.count_nonzero(null, axis=1)
        if not fits.all():
            all_values, all_present = np.zeros((self.n, d)), np.ones((self.n, d), bool)
            all_values[fits] = values
            all_present[fits] = True if present is None else present
            values, present = all_values, all_present
        return self.table(features, values, present)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _role_of(context: Context, path: str) -> int:
    """Return the role of a name; that of a number is _UNTYPED even if the schema knows it."""
    asked, schema = context.selection, context.schema
    if context.are_pairs:
        return _LABEL if path == asked.label else _IGNORED if path in asked.ignore else _UNTYPED
    if path == schema.label:
        return _LABEL
    if path == asked.weight:
        return _WEIGHT
    labels = LABEL_NAMES if asked.label is None else (asked.label,)
    for name in (*asked.roles, *labels, schema.label):
        if name and path.startswith(f"{name}."):
            return _ODD  # an object may have a role as a whole
    if path in asked.roles:
        return _IGNORED
    if path == BARE_LIST and schema.columns:
        return _ODD
    if path in asked.one_hot and (schema.is_list or schema.key):
        return _ONE_HOT
    if schema.is_list:
        return _IGNORED
    name = path
    if schema.key:
        if not path.startswith(f"{schema.key}."):
            return _IGNORED
        name = path.removeprefix(f"{schema.key}.")
    if name in (schema.texts or ()):
        return _TEXT
    if name in asked.one_hot:
        return _ONE_HOT
    if context.uses_only_known and name not in schema.numbers:
        return _TEXT
    return _UNTYPED

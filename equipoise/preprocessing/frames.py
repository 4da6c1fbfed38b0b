"""Frames of pandas and polars: their numeric columns as one matrix, and scaled columns back."""

import numpy as np

from equipoise.ops.scale import op
from equipoise.preprocessing.containers import ADVICE


def _refuse(name, kind, values):
    """Refuse a column without numbers, with the first value that is none."""
    for value in values:
        try:
            float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"columns must hold numbers; {name!r} holds {kind}, as {value!r}: could not "
                f"convert it to a number. {ADVICE}"
            ) from None
    raise ValueError(f"columns must hold numbers; {name!r} holds {kind}. {ADVICE}")


def _common(dtypes) -> np.dtype:
    """Give the dtype of the matrix: that of all columns where it is one float, else float64."""
    kinds = set(dtypes)
    one = kinds.pop() if len(kinds) == 1 else np.dtype(np.float64)
    return op.result_dtype(one)


class _Frame:
    """What both kinds share: columns go through one matrix, and back with their own dtypes."""

    def __init__(self, x):
        self.x = x

    def matrix(self, chosen) -> np.ndarray:
        """Give the numbers of the chosen columns."""
        raise NotImplementedError

    def owned(self, matrix) -> bool:
        """Tell whether the matrix is a copy that may be overwritten."""
        raise NotImplementedError

    def back(self, chosen, mapped):
        """Give a frame like this one, the chosen columns replaced."""
        raise NotImplementedError

    def map(self, chosen, how, in_place, out):
        """Scale the chosen columns; give a frame (an array for ``out``) and if any was infinite."""
        matrix = self.matrix(chosen)
        if out is not None:
            return self._map_out(matrix, chosen, how, out)
        mapped, infinite = how.apply(matrix, matrix if self.owned(matrix) else None)
        if infinite:
            return None, True
        return self.back(chosen, mapped), False

    def _map_out(self, matrix, chosen, how, out):
        from equipoise.preprocessing.containers import Array

        if chosen is not None:
            matrix = self.matrix(None)
        return Array(matrix).map(chosen, how, False, out)


class Pandas(_Frame):
    """A pandas frame."""

    @property
    def names(self):
        """Names of all columns."""
        return list(self.x.columns)

    def _dtypes(self, chosen):
        dtypes = self.x.dtypes.to_numpy() if hasattr(self.x.dtypes, "to_numpy") else self.x.dtypes
        return [dtypes[i] for i in (range(self.x.shape[1]) if chosen is None else chosen)]

    def matrix(self, chosen):
        """Give the numbers of the chosen columns; a view where pandas keeps them together."""
        part = self.x if chosen is None else self.x.iloc[:, chosen]
        dtypes = self._dtypes(chosen)
        dtype = _common(self._float_dtype(d) for d in dtypes)
        if all(isinstance(d, np.dtype) and d.kind in "fiub" for d in dtypes):
            return part.to_numpy(dtype=dtype)
        values = np.empty(part.shape, dtype, order="F")
        for i, d in enumerate(dtypes):
            values[:, i] = self._numbers(part.iloc[:, i], part.columns[i], d, dtype)
        return values

    def _float_dtype(self, dtype):
        """Give the dtype that a column has once scaled; nullable ones as NumPy's."""
        known = getattr(dtype, "numpy_dtype", dtype)
        plain = isinstance(known, np.dtype) and known.kind == "f"
        return op.result_dtype(known) if plain else np.dtype(np.float64)

    def _numbers(self, column, name, dtype, wanted):
        from pandas.api import types

        numeric = types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype)
        if not (numeric or types.is_object_dtype(dtype)):
            _refuse(name, str(dtype), column.dropna().head(1))
        try:
            return column.to_numpy(dtype=wanted, na_value=np.nan)
        except (TypeError, ValueError):
            _refuse(name, f"{dtype} values", column.dropna())

    def owned(self, matrix):
        """Tell whether the matrix is a copy of ours; pandas' views may be writeable."""
        return False

    def back(self, chosen, mapped):
        """Give a frame like this one, the chosen columns replaced."""
        import pandas as pd

        wanted = [self._float_dtype(d) for d in self._dtypes(chosen)]
        if chosen is None and all(d == mapped.dtype for d in wanted):
            return pd.DataFrame(mapped, index=self.x.index, columns=self.x.columns, copy=False)
        frame = self.x.copy()
        for k, i in enumerate(range(self.x.shape[1]) if chosen is None else chosen):
            frame.isetitem(int(i), mapped[:, k].astype(wanted[k]))
        return frame


class Polars(_Frame):
    """An eager polars frame; nulls count as NaN."""

    @property
    def names(self):
        """Names of all columns."""
        return list(self.x.columns)

    def _chosen(self, chosen):
        every = self.x.columns
        return every if chosen is None else [every[i] for i in chosen]

    def _float_dtype(self, dtype):
        import polars as pl

        return np.dtype(np.float32 if dtype == pl.Float32 else np.float64)

    def matrix(self, chosen):
        """Give the numbers of the chosen columns."""
        import polars as pl

        names = self._chosen(chosen)
        schema = self.x.schema
        for name in names:
            # a column that is all null has no other type
            if not (schema[name].is_numeric() or schema[name] in (pl.Boolean, pl.Null)):
                _refuse(name, str(schema[name]), self.x[name].drop_nulls().head(1).to_list())
        dtype = _common(self._float_dtype(schema[name]) for name in names)
        cast = pl.Float32 if dtype == np.float32 else pl.Float64
        part = self.x.select(pl.col(name).cast(cast) for name in names)
        return part.to_numpy(order="fortran")

    def owned(self, matrix):
        """Tell whether the matrix is a copy: polars' views are read-only."""
        return matrix.flags.writeable

    def back(self, chosen, mapped):
        """Give a frame like this one, the chosen columns replaced."""
        import polars as pl

        names, schema = self._chosen(chosen), self.x.schema
        columns = [
            pl.Series(name, mapped[:, k].astype(self._float_dtype(schema[name]), copy=False))
            for k, name in enumerate(names)
        ]
        # null was NaN for a while
        whole = [self.x[name].is_not_null() for name in names]
        nothing = pl.Series([None], dtype=pl.Float64)
        return self.x.with_columns(
            values if there.all() else values.zip_with(there, nothing.cast(values.dtype))
            for values, there in zip(columns, whole, strict=True)
        )

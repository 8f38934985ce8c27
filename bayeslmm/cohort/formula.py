"""Formulas, ``BWT ~ sex * age + bs(weight, df=4)``: the columns that they use, and the X that they make.

A formula holds Python expressions, which formulaic evaluates; they see the columns of the table, the functions of
formulaic (``bs``, ``poly``, ``C``, ``log``, ``np`` ...) and those of Python, and no variable of the caller.
"""

import ast
import builtins
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples, one_line, quoted
from bayeslmm.cohort.design import INTERCEPT

# formulaic is imported by those who call it: it takes a tenth of a second, and most runs have no formula.


@dataclass(frozen=True)
class Formula:
    """A formula that has been read, but not evaluated; made by `read_formula`.

    Attributes:
        text: as it was written.
        traits: the expressions on its left side.
        terms: its right side, as formulaic has it.
    """

    text: str
    traits: tuple[str, ...]
    terms: Any

    def columns(self, known: Collection[str], *, where: object) -> list[str]:
        """Return the columns that the right side uses, in order.

        Args:
            known: the columns there are.
            where: their table, for messages.

        Raises:
            InputError: if the formula names what is neither a column nor a function.
        """
        expressions = [factor.expr for term in self.terms for factor in term.factors]
        return used_columns(expressions, known, where=f"{where}: formula {quoted(self.text)}")

    def design(
        self, columns: Mapping[str, ndarray], ids: Sequence[str], *, levels: Mapping[str, Sequence[str]]
    ) -> tuple[list[str], Float64[ndarray, "n c"]]:
        """Return names and columns of X. Bases of splines and polynomials are built on these rows.

        Args:
            columns: those that the formula uses, numbers or text, without missing values, shape (n,).
            ids: of the rows.
            levels: of some columns of text, the first one that with which others are compared; sorted by default.

        Raises:
            InputError: if the formula cannot be evaluated, makes values that are no finite numbers, or leaves nothing.
        """
        with _one_error(self.text):
            matrix = self._matrix(columns, len(ids), levels)
            names, X = list(map(_plain, matrix.columns)), matrix.to_numpy(float)
        if not names:
            raise InputError(
                f"formula {quoted(self.text)} leaves no fixed effect: keep the intercept (leave out 0 or -1)"
            )
        for name, column in zip(names, X.T, strict=True):
            if wrong := [ids[int(i)] for i in np.flatnonzero(~np.isfinite(column))]:
                raise InputError(
                    f"formula {quoted(self.text)}: {name} must be a finite number, but is not for {len(wrong)} of the "
                    f"{len(ids)} individuals analysed ({examples(wrong)}): look at their values"
                )
        return names, X

    def design_of_others(
        self,
        columns: Mapping[str, ndarray],
        others: Mapping[str, ndarray],
        n: int,
        m: int,
        *,
        levels: Mapping[str, Sequence[str]],
    ) -> Float64[ndarray, "m c"]:
        """Return X of other rows, with the bases and categories of those that `design` was asked for.

        Args:
            columns: of n rows, as for `design`.
            others: the same of m rows.
            n: how many.
            m: how many others.
            levels: as for `design`.

        Returns:
            NaN where a row has a category that none of the n has, or lies outside a spline.
        """
        from formulaic.errors import DataMismatchWarning

        spec = self._matrix(columns, n, levels).model_spec
        text = {name: set(column.tolist()) for name, column in columns.items() if column.dtype.kind == "U"}
        frame = pd.DataFrame(index=range(m))
        unseen = np.zeros(m, dtype=bool)
        for name, column in others.items():
            if name not in text:
                frame[name] = column
                continue
            new = ~np.isin(column, [*text[name]])
            values = column.astype(object)
            values[new] = None
            frame[name] = pd.Categorical(values, categories=sorted(text[name]))
            unseen |= new

        def evaluated(rows: ndarray) -> ndarray:
            with _one_error(self.text), warnings.catch_warnings():
                warnings.simplefilter("error", DataMismatchWarning)
                part = frame.iloc[rows].reset_index(drop=True)
                return spec.get_model_matrix(part, context={"C": _category()}, na_action="ignore").to_numpy(float)

        X = np.full((m, len(spec.column_names)), np.nan)
        seen = np.flatnonzero(~unseen)
        try:
            X[seen] = evaluated(seen) if seen.size else X[seen]
        except InputError:  # of some of them: which, is told by one at a time
            for row in seen:
                with suppress(InputError):
                    X[row] = evaluated(np.array([row]))[0]
        X[~np.isfinite(X).all(axis=1)] = np.nan
        return X

    def _matrix(self, columns: Mapping[str, ndarray], n: int, levels: Mapping[str, Sequence[str]]) -> Any:
        frame = pd.DataFrame(index=range(n))
        for name, column in columns.items():
            text = column.dtype.kind == "U"
            there = set(column.tolist()) if text else set[str]()
            order = [level for level in levels.get(name, sorted(there)) if level in there]
            frame[name] = pd.Categorical(column, categories=order) if text else column
        return self.terms.get_model_matrix(frame, context={"C": _category()}, na_action="ignore")


def read_formula(text: str) -> Formula:
    """Read a formula, with or without a left side.

    Raises:
        InputError: if it is none.
    """
    import formulaic

    if re.search(r"(^|[~+\-*:/ ])\.($|[+\-*:/ ])", text):
        raise InputError(f"formula {quoted(text)}: a dot stands for no columns here: name those to use")
    with _one_error(text):
        whole = formulaic.Formula.from_spec(text)
        terms = whole if isinstance(whole, formulaic.SimpleFormula) else getattr(whole, "rhs", None)
        left = getattr(whole, "lhs", ()) if terms is not whole else ()
    if not isinstance(terms, formulaic.SimpleFormula) or "~" not in text:
        raise InputError(
            f"formula {quoted(text)}: it must have one right side after a ~, such as '~ sex + age' or 'trait ~ sex'"
        )
    if several := [str(term) for term in left if len(term.factors) != 1]:
        raise InputError(f"formula {quoted(text)}: {several[0]} cannot be a trait: write traits as A + B")
    return Formula(text, tuple(term.factors[0].expr for term in left), terms)


def evaluate(expression: str, columns: Mapping[str, ndarray], *, where: str) -> Float64[ndarray, " n"]:
    """Return the value of an expression of columns of numbers, such as ``log(BWT)``, for each row.

    Raises:
        InputError: if it cannot be evaluated, or is not one number for each row.
    """
    import formulaic

    with _one_error(where):
        formula = formulaic.Formula.from_spec([f"{{{expression}}}"])
        values = formula.get_model_matrix(pd.DataFrame(dict(columns)), context={}, na_action="ignore").to_numpy(float)
    if values.shape[1] != 1:
        raise InputError(f"formula {quoted(where)}: {expression} must be one number for each individual")
    return values[:, 0]


def used_columns(expressions: Sequence[str], known: Collection[str], *, where: str) -> list[str]:
    """Return the columns that expressions use, in order.

    Formulaic's own list lacks those inside ``bs``, ``poly`` and the like.

    Raises:
        InputError: if one names what is neither a column nor a function.
    """
    from formulaic.transforms import TRANSFORMS
    from formulaic.utils.code import sanitize_variable_names

    used: list[str] = []
    for expression in expressions:
        if expression in known:
            used.append(expression)
            continue
        aliases: dict[str, str] = {}
        tree = ast.parse(sanitize_variable_names(expression, {}, aliases), mode="eval")
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        named = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        for node in sorted(named, key=lambda node: node.col_offset):
            name, function = aliases.get(node.id, node.id), node.id in TRANSFORMS or hasattr(builtins, node.id)
            if name in known and id(node) not in called:
                used.append(name)
            elif not function:
                raise InputError(
                    f"{where}: there is no column (or function) {quoted(name)}; the columns are "
                    f"{examples(known, most=12)}"
                )
    return list(dict.fromkeys(used))


@contextmanager
def _one_error(text: str) -> Iterator[None]:
    """Turn whatever an expression raises into an `InputError`; what NumPy warns about is checked in the results."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    except InputError:
        raise
    except Exception as error:
        why = re.sub(
            r"^Unable to evaluate factor (.*?)\. \[\w+: (.*)\]$", r"\1: \2", str(error).strip(), flags=re.DOTALL
        )
        raise InputError(f"formula {quoted(text)}: {one_line(why.split(chr(10) * 2)[0])}") from None


def _category() -> Any:
    """Return formulaic's C, with levels 1970 where that has 1970.0: whole numbers are kept as floats."""
    from formulaic.transforms import C

    def category(data: Any, *arguments: Any, **options: Any) -> Any:
        values = pd.Series(data)
        whole = values.dtype.kind == "f" and (values == values.round()).all() and (values.abs() < 2**53).all()
        return C(values.astype(np.int64) if whole else values, *arguments, **options)

    return category


def _plain(name: str) -> str:
    """Return the name of a column as the design without a formula has it."""
    return INTERCEPT if name == "Intercept" else name.replace("[T.", "[")

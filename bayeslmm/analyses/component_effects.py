"""Predicted effects of all levels of all components, as a table."""

import pandas as pd

from bayeslmm.estimators.components_reml import ComponentsEstimate


def effects_table(estimate: ComponentsEstimate) -> pd.DataFrame:
    """Return the predictions at the estimated variances: breeding values, effects of mothers, of years and so on.

    Returns:
        A row for each level of each component but the residual, with columns component, level, effect (best linear
        unbiased prediction), pev (variance of its error) and reliability (1 - pev / variance of the effect; NA where
        the estimate of the component is 0).

    Source: Henderson (1975), doi:10.2307/2529430.
    """
    tables = [
        pd.DataFrame(
            {
                "component": one.name,
                "level": one.levels,
                "effect": estimate.effects[one.name] + 0.0,  # a variance of 0 makes zeros of both signs
                "pev": estimate.prediction_errors[one.name],
                "reliability": estimate.reliabilities[one.name],
            }
        )
        for one in estimate.data.records.components
    ]
    return pd.concat(tables, ignore_index=True)

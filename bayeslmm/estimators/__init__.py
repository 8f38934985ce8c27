"""Deterministic estimators of the variance components, one file each."""

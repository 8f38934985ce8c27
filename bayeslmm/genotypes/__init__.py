"""Genotype files: individuals, variants and dosages, read a block at a time."""

"""Genotype files: who is in them, which variants, and their dosages, a block at a time."""

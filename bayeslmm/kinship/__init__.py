"""Kinship matrices: from genotypes, from a pedigree, and from files."""

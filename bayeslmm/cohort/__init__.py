"""Who is analysed: traits, covariates and kinship, aligned by id, with every drop counted."""

"""Defaults that the library and the command line share."""

SCALES = ("hwe", "sample", "vanraden")
"""How markers can be standardised."""

SCALE, MAF, GENO = SCALES[0], 0.01, 0.05
"""How they are, least minor allele frequency, largest missing rate."""

CHAINS, DRAWS, WARMUP, TARGET_ACCEPT = 4, 1000, 1000, 0.9
"""Of NUTS: chains, kept draws and adaptation steps of each, acceptance rate."""

DRAWS_GROUPS = ("prior", "log_prior", "posterior_predictive", "log_likelihood")
"""What can be added to draws, as groups of ArviZ."""

PROBE_ERROR = 0.02
"""Monte Carlo error of random probes that is asked for, in posterior standard deviations of h2."""

PRIOR_H2 = (1.0, 1.0)
"""Shapes of the Beta prior of h2."""

PRIOR_TOTAL = (1.0, 2.0)
"""Of the log-normal prior of the sum of several components: median, standard deviation of the logarithm."""

PRIOR_ETA = (1.0, 1.0)
"""Concentrations of the LKJ priors of genetic and residual correlations."""

PRIOR_EFFECT = 0.15
"""Standard deviation of the prior of the effect of a marker, in those of the trait given its covariates."""

METHODS, COMPONENT_METHODS = ("reml", "exact", "nuts"), ("reml", "importance")
"""Of `h2`, for one kinship and for several components of variance."""

JOINT_METHODS, JOINT_COMPONENT_METHODS = ("mom", "reml", "nuts"), ("reml", "nuts")
"""Of `rg`, for one kinship and for several components of variance."""

MOST_SAMPLED = 200
"""Missing values of two traits with more of which importance sampling takes the place of NUTS in `rg`."""

"""How to read the numbers: sentences that several reports share."""

H2 = (
    "h2 = sigma2_u / (sigma2_u + sigma2_e) is the share of the variance left by the covariates that kinship explains, "
    "if the mean diagonal of K is 1; pve is that share whatever the scale of K. Neither has a unit; sigma2_u (genetic) "
    "and sigma2_e (residual variance) are in squared units of the trait."
)
INTERVALS = (
    "An interval of the posterior (exact, NUTS) holds the value with 95% probability, given the data, the model and "
    "the prior. Its tails are equal, so that its lower end is above 0 even where h2 is 0: that is no evidence. One of "
    "REML, ML or moments would hold it in 95% of repeated studies, as far as the estimate is normal; on the boundary "
    "it is a likelihood interval in place of the standard error. (se) is a standard error, (sd) the standard "
    "deviation of the posterior."
)
WHOM = (
    "A heritability is about these individuals in their environment: it does not say how much of the trait of one "
    "individual is inherited, nor why groups differ."
)

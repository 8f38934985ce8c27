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
COMPONENTS = (
    "Components are independent parts of the variance that the covariates leave: u is that of the kinship, e the "
    "residual, pe the permanent environment of individuals with several records, others have the names of their "
    "columns or kinships. share[NAME] is one variance over the sum of all, h2 that of the additive genetic ones, "
    "repeatability that of all that the records of an individual have in common; they are shares of the variance if "
    "the mean diagonals of the kinships are 1, and pve is h2 whatever their scale. sigma2[NAME] is in squared units of "
    "the trait. The test of a component is one of likelihood ratio; its null distribution is simulated from the model "
    "without the component, at the estimated ratios of the others."
)

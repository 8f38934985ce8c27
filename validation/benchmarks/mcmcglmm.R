# MCMCglmm on the gryphons' birth weight: sex, animal, mother and year. Prints JSON: seconds of the sampler alone, and
# effective draws of each variance. Arguments: folder of the data, iterations, burn-in, thinning, seed.
suppressPackageStartupMessages(library(MCMCglmm))
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
numbers <- as.integer(arguments[-1])
pedigree <- read.csv(file.path(folder, "pedigree.csv"), colClasses = "character", na.strings = c("", "NA", "0"))
records <- merge(
  read.delim(file.path(folder, "pheno.tsv"), colClasses = c(IID = "character")),
  read.delim(file.path(folder, "covar.tsv"), colClasses = "character"),
  by = "IID"
)
records <- records[!is.na(records$BWT), ]
names(records)[names(records) == "IID"] <- "animal"
for (column in c("animal", "sex", "mother", "cohort")) records[[column]] <- factor(records[[column]])
inverse <- inverseA(pedigree)$Ainv
# The tutorial's: an inverse gamma for each variance.
weak <- list(V = 1, nu = 0.002)
prior <- list(G = list(G1 = weak, G2 = weak, G3 = weak), R = weak)
set.seed(numbers[4])
begun <- proc.time()[["elapsed"]]
fit <- MCMCglmm(BWT ~ sex,
  random = ~ animal + mother + cohort, ginverse = list(animal = inverse), data = records, prior = prior,
  nitt = numbers[1], burnin = numbers[2], thin = numbers[3], verbose = FALSE
)
seconds <- proc.time()[["elapsed"]] - begun
effective <- effectiveSize(fit$VCV)
means <- colMeans(fit$VCV)
listed <- function(values) paste(sprintf('"%s": %.6g', names(values), values), collapse = ", ")
cat(sprintf(
  '{"seconds": %.3f, "rows": %d, "draws": %d, "effective": {%s}, "means": {%s}, "version": "%s"}\n',
  seconds, nrow(records), nrow(fit$VCV), listed(effective), listed(means), packageVersion("MCMCglmm")
))

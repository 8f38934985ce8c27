"""The model: the eigenbasis of K, the likelihoods of one trait and of several, priors, derived quantities."""

"""NumPyro programs, one readable file each."""

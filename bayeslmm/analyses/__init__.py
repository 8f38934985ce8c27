"""What the commands answer: each method asked for on a trait or on several, as one table of estimates."""

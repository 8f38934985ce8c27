"""The command line: options, what each command does, its folder of results, its exit code."""

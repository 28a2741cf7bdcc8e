"""The study as a whole, before and around its jobs: settings, Slurm, time limits, cost forecast."""

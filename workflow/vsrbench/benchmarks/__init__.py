"""Speed as ratios against plain formulations; run as `python -m vsrbench.benchmarks.<name>`."""

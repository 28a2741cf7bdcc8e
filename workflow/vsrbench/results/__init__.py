"""Read what a study's runs wrote, and the statistics on it; free of torch."""

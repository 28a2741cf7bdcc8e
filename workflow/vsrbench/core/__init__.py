"""What every other package may use: configuration, errors, atomic files, provenance, devices."""

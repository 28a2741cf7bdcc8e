"""Data sets, degradations and the frame store."""

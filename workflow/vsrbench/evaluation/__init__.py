"""Restore and score clips, check bicubic against published scores, time and inspect networks."""

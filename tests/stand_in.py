"""A stand-in for a real command, whose behaviour the test chooses."""

from pathlib import Path


def stand_in(folder: Path, command: str, script: str) -> Path:
    """Write an executable of this name, a line or more of shell, into a folder, which is made; for PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / command
    path.unlink(missing_ok=True)  # it may be a link to the real one
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path

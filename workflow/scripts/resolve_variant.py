"""Write a resolved variant."""

from pathlib import Path

import yaml

from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import origin


def resolve_variant(variant: dict, path: Path) -> None:
    """`variant` (see `vsrbench.core.config.Variant`) as YAML, in the order of its fields."""
    with atomic_write(path) as partial:
        partial.write_text(yaml.safe_dump(variant, sort_keys=False, width=110))
    origin("resolve_variant").record(path)


resolve_variant(snakemake.params.variant, Path(snakemake.output[0]))  # noqa: F821

"""Which figures a study has, and which networks they look into; for the Snakefile, so without torch."""

from collections.abc import Mapping

from vsrbench.core.config import Variant


def figures_of(
    variants: Mapping[str, Variant], *, budgets: bool = False, tuning: bool = False, training: bool = True
) -> list[str]:
    """Names in the order of the report; flow and attention only where the study has them to show.

    `budgets`: it has more than one training budget. `tuning`: it chooses learning rates. `training`: it
    trains at all."""
    has_attention = any(variant.model.attention != "none" for variant in variants.values())
    figures = {
        "differences": True,
        "costs": True,
        "comparison": True,
        "errors": True,
        "profiles": True,
        "flow": variants["full"].model.flow_source == "spynet",
        "attention": has_attention,
        "clips": True,
        "budgets": budgets,
        "tuning": tuning,
        "training": training,
    }
    return [name for name, shown in figures.items() if shown]


def inspected_variants(variants: Mapping[str, Variant]) -> list[str]:
    """Return the full model and the study's first variant of each other kind of attention."""
    first: dict[str, str] = {}
    for name in ("full", *variants):
        first.setdefault(variants[name].model.attention, name)
    return [name for kind, name in first.items() if kind != "none" or name == "full"]

"""The settings of a study of k-patterns, checked: plain data without torch, for the Snakefile."""

from dataclasses import dataclass
from typing import Any

from vsrbench.core.config import check_schema
from vsrbench.core.errors import InputError, check_known

KEY = "k_patterns"  # of a study file of this kind
LAYERS = ("convolutional", "fully_connected", "fully_connected_wide", "stcsa", "fcsa")
ATTENTION = ("stcsa", "fcsa")


@dataclass(frozen=True)
class PatternStudy:
    """A study file of k-patterns."""

    name: str
    title: str
    settings: dict[str, Any]  # its section `k_patterns`

    def seeds(self, layer: str) -> list[int]:
        """Return the seeds that a layer is trained with."""
        seeds: list[int] = self.settings["layers"][layer]["seeds"]
        return seeds

    def k(self, layer: str) -> list[int]:
        """Return the numbers of deciding bits that a layer is trained on."""
        k: list[int] = self.settings["layers"][layer].get("k", self.settings["k"])
        return k

    def sizes(self) -> list[int]:
        """List every n of any layer."""
        return sorted({n for chosen in self.settings["layers"].values() for n in chosen["n"]})

    def runs(self) -> list[str]:
        """List the files of trainings, below the study's folder: one for a layer, an optimiser and an n."""
        return [
            f"runs/{layer}/{optimiser}/n_{n}.csv"
            for layer, chosen in self.settings["layers"].items()
            for optimiser in self.settings["learning_rates"]
            for n in chosen["n"]
        ]


def load_pattern_study(config: dict[str, Any]) -> PatternStudy:
    """Check a study file of k-patterns; InputError names the key."""
    source = f"study {config.get('study', '?')}"
    check_schema(config, "k_patterns", source)
    settings = config[KEY]
    for layer, chosen in settings["layers"].items():
        where = f"{source}: {KEY}.layers.{layer}"
        check_known("layer", layer, LAYERS, where)
        if unmeasured := set(chosen.get("k", ())).difference(settings["k"]):
            raise InputError(f"{where}.k: {min(unmeasured)} is not one of {KEY}.k; add it there")
        longest = max(chosen.get("k", settings["k"]))
        if min(chosen["n"]) < longest:
            raise InputError(f"{where}.n: {min(chosen['n'])} bits hold no pattern of {longest}; raise it")
        if layer in ATTENTION and any(n % 4 for n in chosen["n"]):
            raise InputError(f"{where}.n: attention cuts bits into tokens of four; take multiples of 4")
        if both := set(settings["tuning_seeds"]).intersection(chosen["seeds"]):
            raise InputError(f"{where}.seeds: {min(both)} is one of tuning_seeds; choose another")
    return PatternStudy(config["study"], config["title"], settings)

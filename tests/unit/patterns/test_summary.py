"""Tables of k-patterns: what counts as learnt, with intervals, and how it is said."""

import pandas as pd
import pytest
from scipy.stats import beta

from vsrbench.core.errors import InputError
from vsrbench.patterns.summary import describe, read_trainings, summarise, tabulate_cells, tabulate_trainings
from vsrbench.report.explain import explain

RATES = {"sgd": [0.1, 0.3, 1.0], "adam": [0.001, 0.01]}


def rows(layer: str, seed: int, *accuracies: float, rate: float = 0.3, tuning: bool = False, **cell) -> list:
    place = {"layer": layer, "optimiser": "sgd", "n": 16, "function": "parity", "k": 3} | cell
    return [
        place
        | {"seed": seed, "rate": rate, "tuning": tuning, "parameters": 7, "step": 50 * index, "loss": 0.5}
        | {"accuracy": accuracy, "run": "runs/here.csv"}
        for index, accuracy in enumerate(accuracies, 1)
    ]


@pytest.fixture
def table():
    return tabulate_trainings(
        pd.DataFrame(
            [
                *rows("convolutional", 101, 1.0, tuning=True),
                *rows("convolutional", 1, 0.5, 0.8, 0.995),
                *rows("convolutional", 2, 0.5, 0.99),
                *rows("convolutional", 3, 0.98, 0.7, 0.6),
                *rows("fully_connected", 1, 0.5, 0.5, 0.52, rate=1.0),
                *rows("fully_connected", 2, 0.5, 0.5, 0.48, rate=1.0),
            ]
        )
    )


def test_a_training_is_its_last_row_and_learnt_only_at_99_percent(table):
    found = table.set_index(["layer", "seed"])
    assert len(found) == 5  # the tuning one is left out
    assert found.loc[("convolutional", 1), ["steps_to_learn", "steps"]].tolist() == [150, 150]
    assert found.loc[("convolutional", 2), "steps_to_learn"] == 100
    assert found.loc[("convolutional", 3)].isna()["steps_to_learn"]
    assert found.loc[("convolutional", 3), "accuracy"] == 0.6


def test_cells_have_shares_with_intervals_and_medians_that_count_what_was_missed(table):
    cells = tabulate_cells(table, RATES).set_index("layer")
    local, dense = cells.loc["convolutional"], cells.loc["fully_connected"]
    assert (local.learnt, local.seeds, local.median_steps, local.rate_at_edge) == (2, 3, 150, False)
    # Clopper and Pearson's interval is given by quantiles of beta distributions.
    assert local.learnt_low == pytest.approx(beta.ppf(0.025, 2, 2))
    assert local.learnt_high == pytest.approx(beta.ppf(0.975, 3, 1))
    assert (dense.learnt, dense.learnt_low, dense.accuracy, dense.rate_at_edge) == (0, 0, 0.5, True)
    assert pd.isna(dense.median_steps)


def test_what_diverged_has_no_accuracy_and_is_counted():
    data = pd.DataFrame([*rows("fcsa", 1, 0.5, 0.7), *rows("fcsa", 2, 0.1), *rows("stcsa", 1, 0.1)])
    data.loc[data.accuracy == 0.1, "loss"] = float("nan")
    cells = tabulate_cells(tabulate_trainings(data), RATES)
    found = cells.set_index("layer")
    assert found.diverged.to_dict() == {"fcsa": 1, "stcsa": 1} and found.accuracy["fcsa"] == 0.7
    assert describe(cells, 100).splitlines()[2].split() == ["stcsa", "16", "diverged"]
    assert describe(cells, 100).splitlines()[3].split() == ["fcsa", "16", "70", "%"]


def test_text_says_what_is_stuck(table):
    text = describe(tabulate_cells(table, RATES), 150)
    assert "parity, gradient descent" in text and "Adam" not in text
    assert text.splitlines()[2].split() == ["convolutional", "16", "2", "of", "3"]
    assert text.splitlines()[3].split() == ["fully_connected", "16", "stuck"]
    assert "within 150 steps" in text


def test_summary_is_written_from_files(tmp_path, capsys):
    runs = []
    for layer, ends in {"convolutional": (0.5, 0.99), "fully_connected": (0.5, 0.5)}.items():
        data = [row for seed in (1, 2) for row in rows(layer, seed, *ends)]
        runs.append(tmp_path / "runs" / layer / "sgd" / "n_16.csv")
        runs[-1].parent.mkdir(parents=True)
        pd.DataFrame(data).drop(columns="run").to_csv(runs[-1], index=False)
        runs[-1].with_suffix(".json").write_text('{"revision": "abc"}')
    gradients = tmp_path / "gradients.csv"
    gradients.write_text(
        "layer,n,k,initialisations,squared_gradient,standard_error,bound\n"
        "convolutional,16,3,4,1e-3,1e-4,\nfully_connected,16,3,4,1e-5,1e-6,1e-3\n"
    )
    summarise(runs=runs, gradients=gradients, title="Stuck & not", out=tmp_path)
    table = pd.read_csv(tmp_path / "tables" / "trainings.csv")
    assert table.run.tolist() == ["convolutional/sgd/n_16.csv"] * 2 + ["fully_connected/sgd/n_16.csv"] * 2
    assert table.steps_to_learn.tolist()[:2] == [100, 100] and table.steps_to_learn.isna().tolist()[2:] == [
        1,
        1,
    ]
    assert len(pd.read_csv(tmp_path / "tables" / "cells.csv")) == 2
    for name in ("steps_parity", "gradients"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000
    assert read_trainings(runs).run.nunique() == 2
    page = (tmp_path / "report.html").read_text()
    assert "<h1>Stuck &amp; not</h1>" in page and page.count("data:image/svg+xml;base64,") == 2
    assert (
        "convolutional, n = 16" in page
        and "1.0e-03<small> ± 1e-04" in page
        and "1.0e-05<small> ± 1e-06" in page
    )

    capsys.readouterr()
    explain(tmp_path / "tables" / "cells.txt", "fully_connected:sgd:16:parity:3")
    printed = capsys.readouterr().out
    assert "0 of 2 seeds learnt, learning rate 0.3" in printed and "convolutional" not in printed
    assert printed.count("accuracy 0.5000 after 100 steps") == 2
    assert "runs/fully_connected/sgd/n_16.csv: revision abc" in printed
    explain(tmp_path / "tables" / "gradients.csv", "fully_connected:16:3")
    printed = capsys.readouterr().out
    assert "squared gradient 1e-05, standard error 1e-06" in printed and "bound 0.001" in printed
    with pytest.raises(InputError, match="no cell 'fcsa:sgd:16:parity:3'; it has conv"):
        explain(tmp_path / "tables" / "cells.csv", "fcsa:sgd:16:parity:3")

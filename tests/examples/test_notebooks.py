"""Each notebook runs from top to bottom in a fresh kernel, and is stored without outputs."""

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": ROOT}})
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"})

    printed = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert printed
    on_stderr = [o.text for o in printed if o.output_type == "stream" and o.name == "stderr"]
    assert not on_stderr, "a warning in the notebook"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_clean(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)
    assert not {"widgets", "signature"} & set(notebook.metadata)


def test_notebooks_exist():
    assert [path.stem for path in NOTEBOOKS] == [
        "against_jax_grad",
        "dynamic_graph_tour",
        "linear_regression",
    ]

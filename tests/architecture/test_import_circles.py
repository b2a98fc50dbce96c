"""Import cycles: none, not even for type checkers."""

import graphlib

import grimp
import pytest


def sort_modules(graph: grimp.ImportGraph) -> list[str]:
    """Return the modules so that each stands after everything that it imports.

    Raises: CycleError, which names a circle.
    """
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    return list(graphlib.TopologicalSorter(imports).static_order())


def read_graph() -> grimp.ImportGraph:
    """Return the imports of the engine and its console."""
    return grimp.build_graph("sagas", cache_dir=None)


def test_no_import_cycles() -> None:
    in_order = sort_modules(read_graph())

    assert (
        in_order.index("sagas.core.definition.saga")
        < in_order.index("sagas.core.definition.registry")
        < in_order.index("sagas.tasks")
    )


def test_cycle_would_be_found() -> None:
    graph = read_graph()
    graph.add_import(importer="sagas.engine.notify.wakeup_sending", imported="sagas.tasks")

    with pytest.raises(graphlib.CycleError, match=r"sagas\.engine\.notify\.wakeup_sending"):
        sort_modules(graph)

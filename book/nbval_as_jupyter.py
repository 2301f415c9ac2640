"""A pytest plugin for nbval: run cells as Jupyter does, so that a last line ending in `;` shows nothing.

nbval asks the kernel to keep no history, and it is in its history that IPython looks for that `;`.
"""

from nbval.kernel import RunningKernel


def execute_cell_input(self, cell_input: str, allow_stdin: bool = False) -> str:
    """Send a cell to the kernel, history on; returns the id of the message, as nbval expects."""
    return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


RunningKernel.execute_cell_input = execute_cell_input  # pyright: ignore[reportAttributeAccessIssue]

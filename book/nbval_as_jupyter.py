"""A pytest plugin for nbval: run cells as Jupyter does, and keep what they gave for the build.

Jupyter shows nothing of a last line that ends in `;`. IPython looks for that `;` in its history, and nbval asks the
kernel to keep none. What the kernel sends is put together by nbclient, as when the build executes a chapter itself
(book/execute.py), and kept in the same place, so that a chapter just compared need not be executed again.
"""

import os
import tempfile

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete
from nbval import plugin
from nbval.kernel import RunningKernel

from book.execute import KERNEL_ENVIRONMENT, cache_file, code_cells, keep


class Kernel(RunningKernel):
    """nbval's kernel, history on; it remembers which cells it was sent and what it answered."""

    def __init__(self, *args, **kwargs):
        self.sent, self.heard = [], []
        super().__init__(*args, **kwargs)

    def execute_cell_input(self, cell_input, allow_stdin=None):
        """Send a cell to the kernel; returns the id of the message, as nbval expects."""
        self.sent.append(self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False))
        return self.sent[-1]

    def get_message(self, stream, timeout=None):
        """The next message of the kernel."""
        message = super().get_message(stream, timeout)
        if stream == "iopub":
            self.heard.append(message)
        return message


plugin.RunningKernel = Kernel


def put_together(path, sent, heard):
    """The notebook with what its kernel sent; None unless every cell ran to its end without an error."""
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    client, ended = NotebookClient(notebook, record_timing=False), set()
    client.clear_before_next_output = False  # nbclient sets it where it sends a cell
    for cell in cells:
        cell.outputs = []
    number = {message: n for n, message in enumerate(sent)}
    for message in heard:
        n = number.get(message["parent_header"].get("msg_id"))
        if n is not None:
            try:
                client.process_message(message, cells[n], n)
            except CellExecutionComplete:
                ended.add(n)
    if len(ended) < len(cells) or any(output.output_type == "error" for cell in cells for output in cell.outputs):
        return None
    client.set_widgets_metadata()
    return notebook


def pytest_configure(config):
    """Kernels start as the build's do: the same environment, no start-up files of the user's own IPython."""
    profile = tempfile.TemporaryDirectory()
    config.add_cleanup(profile.cleanup)
    os.environ.update(KERNEL_ENVIRONMENT, IPYTHONDIR=profile.name)


def pytest_runtest_teardown(item, nextitem):
    """After the last cell of a chapter, keep it."""
    file = item.parent
    if isinstance(file, plugin.IPyNbFile) and isinstance(file.kernel, Kernel):
        last = nextitem is None or nextitem.parent is not file
        if last and (notebook := put_together(file.path, file.kernel.sent, file.kernel.heard)):
            keep(notebook, cache_file(file.path, file.path.parents[2] / "_build" / "cache"))

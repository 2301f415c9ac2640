"""What turns the notebooks into the book: the two editions kept in step, and the build."""

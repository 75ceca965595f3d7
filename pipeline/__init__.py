"""The application: options, the two graphs, launching, commit, readers and the command line."""

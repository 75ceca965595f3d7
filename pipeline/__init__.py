"""The application: options, graph assembly, launching, commit, readers, command line."""

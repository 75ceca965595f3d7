"""Archives that hold many images: how their members are listed, and read in order."""

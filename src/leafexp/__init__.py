"""Transfer learning against a CNN from scratch on leaf-disease images, with evidence."""

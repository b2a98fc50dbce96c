"""The installed engine in another project, under each setting that such a project may have."""

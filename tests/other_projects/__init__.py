"""The engine, installed, in a project of somebody else, under each setting that such a project may have."""

"""App that removes one guarding rule from a process of the project, if its environment asks for it."""

"""An app that takes one guarding rule out of a process of the project, where its environment asks for it."""

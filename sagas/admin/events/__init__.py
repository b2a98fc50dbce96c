"""Pages about events between participants."""

"""German numbers with a separator after every two digits: hardly any number stays whole that is not kept whole."""

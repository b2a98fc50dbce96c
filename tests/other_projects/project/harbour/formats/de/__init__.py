"""German numbers with a separator after every two digits: only protected numbers stay unformatted."""

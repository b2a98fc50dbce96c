"""Record of what operators did and looked at, and its verification."""

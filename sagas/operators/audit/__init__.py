"""Record of what operators did and saw, and its verification."""

"""Find mistakes that need the project to be seen; registered as Django system checks."""

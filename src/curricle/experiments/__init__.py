"""Recipe -> arms x seeds -> runs."""

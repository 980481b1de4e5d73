"""Small modules that fit the library into frameworks. Each imports its framework, and is an extra of that name."""

"""Image search and grouping for picture libraries."""

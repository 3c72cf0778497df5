"""What surrounds the pipeline on a board."""

"""What a user runs at the other end of a board's link."""

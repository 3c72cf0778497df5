"""Streaming cores, one per file; they know nothing of boards, files or command lines."""

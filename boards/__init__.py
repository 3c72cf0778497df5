"""Boards: platforms, budgets, and what each one supports."""

"""Pretrained model files, each with its card."""

"""Training of binarised networks; the only package that imports torch."""

"""The network as numbers: training, folding, the integer model. Imports nothing above it."""

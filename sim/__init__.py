"""Simulation: cocotb benches and the code that runs them on Verilator."""

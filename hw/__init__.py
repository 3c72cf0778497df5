"""The network as gateware: plan, cores, accelerator, build."""

"""The engine: networks too big for the chip, layer by layer on one matrix unit they share."""

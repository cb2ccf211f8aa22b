"""LoRAs of the transformer: reading files, the rows in which they act, keeping loaded ones, and the registry."""

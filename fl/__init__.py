"""Learning: models, data, local training, strategies, exact aggregation. Knows no chain and no network."""

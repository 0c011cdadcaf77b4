"""Privacy of a round's update, stated honestly (DESIGN D11): modes, noise, clipping."""

"""What carries out the rounds of simulated clients: this process, worker processes, a Ray cluster."""

"""Who leads and what is final: Simplex, one height at a time. Pure; imports `ledger` only."""

"""The states derived from the ledger, as the database keeps them."""

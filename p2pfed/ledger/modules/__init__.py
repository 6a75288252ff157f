"""The modules of the ledger; they don't know each other and meet only through `ledger.execute`."""

"""The ledger: accounts, validator sets, who trained and who was convicted, under one state root."""

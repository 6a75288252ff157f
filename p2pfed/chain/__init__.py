"""The bridge between agreement, ledger and models: blocks are proposed, checked and applied here."""

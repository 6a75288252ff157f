"""Agreement on one height: rules, tallies, signer, certificates, evidence. It knows ids, never models."""

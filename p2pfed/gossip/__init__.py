"""How peers find each other and spread small messages: peer table, exchange, mesh, digests, limits."""

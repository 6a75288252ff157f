"""The default transport: asyncio alone, TLS 1.3, a signed hello that binds both keys to the connection."""

"""The asyncio world: a process that carries out what a silent node asks for."""

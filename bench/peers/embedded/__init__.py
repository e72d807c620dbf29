"""From submission to result in one asyncio program. Each runs in the peer's environment."""

"""What the OpenAPI document of an app says of its jobs."""

"""Everything that serves: configuration, launch, the local server, the client."""

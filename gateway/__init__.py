"""The gateway: REST over the gRPC services, and the composition of drawing and swapping. No torch here."""

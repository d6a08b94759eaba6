"""What a service has on disk: formats, PURE, and the folder that holds them."""

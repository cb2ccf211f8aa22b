"""The faceswap service: finds, compares and swaps faces, over gRPC."""

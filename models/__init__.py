"""What a feature model is: resolving handles, the MobileNet V2 network, export, loading."""

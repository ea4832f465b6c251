"""The options of the routers, one file each; none of them imports PyTorch."""

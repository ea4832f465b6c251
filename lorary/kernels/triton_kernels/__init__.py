"""The kernels that run on the device; the files beside this folder launch them."""

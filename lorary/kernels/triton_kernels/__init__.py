"""What runs on the device; the files beside this folder launch it."""

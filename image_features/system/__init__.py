"""What the operating system gives: paths, disks, descriptors, sockets that keep a deadline."""

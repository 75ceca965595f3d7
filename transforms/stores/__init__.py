"""Where bytes lie: disks, Cloud Storage and http(s), with retries, versions and URIs."""

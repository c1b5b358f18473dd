"""What commands share: images in, requests to a program, records out."""

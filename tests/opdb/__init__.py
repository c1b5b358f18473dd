"""Every call of torch that takes a tensor, through the compiler: what it makes of each."""

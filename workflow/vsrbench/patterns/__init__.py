"""Whether attention layers learn k-patterns by gradient descent: the paper's argument for locality."""

"""Train SPyNet and the networks, with checkpoints and bit-exact resume."""

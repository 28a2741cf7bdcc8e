"""Mirror finished results into W&B; nothing is read back."""

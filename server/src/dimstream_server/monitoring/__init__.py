"""What others see of the server: figures, health, and its log."""

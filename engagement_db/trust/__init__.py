"""The trust suite: escrow accounts and transactions, dispute cases and events, and the books over them."""

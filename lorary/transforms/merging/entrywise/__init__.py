"""What entry-wise methods are composed of: which entries are kept, and what they become when they meet."""

"""The steps of entry-wise methods: choosing the entries to keep, rescaling them, and combining experts."""

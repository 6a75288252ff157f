"""Every message and record that peers agree on, with the limits that bind it."""

"""What people and programs read: tables, pages and files. Only `html` imports altair (slow)."""

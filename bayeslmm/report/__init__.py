"""What people read: sentences, tables, pictures and the page that holds them."""

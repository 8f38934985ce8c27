"""Results for readers: sentences, tables, checks, pictures, and the page that holds them."""

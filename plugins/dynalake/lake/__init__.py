"""What readers see: the types of a table's attributes, its schema, and how both lie in files and catalogs."""

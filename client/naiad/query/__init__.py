"""Reading back. The functions come with the query stage."""

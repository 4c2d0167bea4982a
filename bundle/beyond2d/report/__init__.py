"""What a person looks at: result files, pictures and tables."""

"""What a person looks at: pictures, meshes, tables and result files."""

"""beyond2d: MONAI bundles that take medical imaging beyond 2D."""

__version__ = "0.5.0"

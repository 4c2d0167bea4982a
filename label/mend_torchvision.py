"""Makes a torchvision importable whose operators were built for another build of torch.

pip tells versions apart but not builds: beside a torch for the CPU it may put a torchvision for CUDA, whose library of
operators cannot be loaded then, so that `import torchvision` fails where it registers gradients and shapes of them.
MONAI Label wants torchvision for pictures and never calls these operators: the two registrations are taken out of its
`__init__.py`. Where the import works, nothing is touched.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

REGISTRATIONS = ("    _autograd_registrations,\n", "    _meta_registrations,\n")


def main() -> None:
    if imports():
        return
    (folder,) = importlib.util.find_spec("torchvision").submodule_search_locations
    path = Path(folder) / "__init__.py"
    text = path.read_text(encoding="utf-8")
    for line in REGISTRATIONS:
        text = text.replace(line, "")
    path.write_text(text, encoding="utf-8")
    if not imports():
        sys.exit("torchvision cannot be imported, and not only for its operators; see `python -c 'import torchvision'`")
    print("torchvision was built for another torch: it works without its own operators, which nothing here calls")


def imports() -> bool:
    """Whether torchvision can be imported, in a process of its own."""
    return subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode == 0


if __name__ == "__main__":
    main()

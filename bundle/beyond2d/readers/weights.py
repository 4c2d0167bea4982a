"""Which weights a workflow loads."""

from __future__ import annotations

import math
from pathlib import Path

from ..checks import InputError


def weights_for(models_dir: str, num_views: int) -> str:
    """The file of weights in a folder that were trained on the number of views nearest to `num_views`.

    The files are named `views_02.pt` and so on; near is by ratio, so 4 views are nearer to 5 than to 3.
    """
    paths = {int(path.stem.removeprefix("views_")): path for path in Path(models_dir).glob("views_*.pt")}
    if not paths:
        raise InputError(f"models_dir: expected weights named views_02.pt and so on in {models_dir}, got none")
    return str(paths[min(paths, key=lambda trained: abs(math.log(trained / num_views)))])

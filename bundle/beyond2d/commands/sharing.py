"""Commands that share a system: as one folder and zip that need nothing of the project, and on a hub."""

from __future__ import annotations

from ..packing import pack_system, pull_bundle, push_bundle
from ..workflow import home


def pack(system: str, *, weights: str | None = None, data_license: str | None = None, out: str = "dist") -> None:
    """Pack a system into one folder and zip that run with MONAI and the listed packages, without beyond2d.

    Writes OUT/NAME and OUT/NAME.zip, the same bytes whenever the same is packed.

    Args:
        system: reconstruction, segmentation, digits or infection.
        weights: of your own in place of the shipped ones: the folder of a training (model.pt, plan.yaml,
            judgement.json...) or one model.pt. What is missing there is taken from the shipped ones.
        data_license: text file on what your weights were made from, and under which licence that is.
        out: folder for both.
    """
    given = [None if path is None else str(path) for path in (weights, data_license)]
    bundle = pack_system(home(), str(system), str(out), *given)
    size = sum(map(len, bundle.files.values())) / 1e6
    print(f"Wrote {out}/{bundle.name} and {out}/{bundle.name}.zip: {len(bundle.files)} files, {size:.1f} MB")
    if bundle.own:
        shipped = [place for place in bundle.files if place.startswith("models/") and place[7:] not in bundle.own]
        print(f"Your own    {', '.join(f'models/{place}' for place in bundle.own)}")
        print(f"Shipped     {', '.join(shipped) or 'nothing'}")
    if bundle.own and data_license is None:
        print("Before you share it, say with --data_license what your weights were made from")
    print(f"Next        beyond2d check {out}/{bundle.name}.zip")


def push(bundle: str, repo: str, *, private: bool = True, tag: str | None = None) -> None:
    """Upload a packed bundle to the Hugging Face Hub. You have to be logged in there: `hf auth login`.

    Args:
        bundle: the folder that `beyond2d pack` wrote.
        repo: OWNER/NAME, made where there is none.
        private: False makes a new repository one that everybody sees.
        tag: a name for this state of the repository, such as 0.4.0.
    """
    push_bundle(str(bundle), str(repo), private, None if tag is None else str(tag))
    print(f"Pushed      {bundle} to {repo}")
    print(f"Next        beyond2d pull {repo} --out pulled")


def pull(repo: str, *, out: str = "pulled", revision: str = "main") -> None:
    """Download a bundle from the Hugging Face Hub into a folder of its name in OUT. Nothing of it is run.

    Running it runs the code that is in it: run only what comes from someone you trust.

    Args:
        repo: OWNER/NAME.
        out: folder for the bundle's folder.
        revision: a branch, tag or commit.
    """
    folder = pull_bundle(str(repo), str(out), str(revision))
    print(f"Wrote {folder}")
    print(f"Next        beyond2d check {folder}")

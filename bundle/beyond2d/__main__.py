"""The command line: `beyond2d` or `python -m beyond2d`."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence

import fire

from .checks import InputError
from .commands import (
    check,
    check_data,
    demo,
    draft_labels,
    ensemble,
    evaluate,
    info,
    pack,
    phantom,
    plan,
    project,
    pull,
    push,
    quantify,
    reconstruct,
    segment,
    train,
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _help_last(arguments: list[str]) -> list[str]:
    """Ask fire itself for help: a command that takes any option would take --help for one of them."""
    return [arguments[0], "--", "--help"] if {"--help", "-h"} & set(arguments[1:]) else arguments


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. What a person gave wrongly ends in one line and exit code 2."""
    warnings.filterwarnings("ignore")  # of libraries; what a person needs to know is an error or a printed line
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    for noisy in ("monai.bundle.scripts", "monai.bundle.workflows", "monai.data.nvimgcodec_pydicom_plugin"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    on_images = (demo, phantom, project, reconstruct, segment, quantify, draft_labels)
    on_data = (check_data, plan, train, evaluate, ensemble, info)
    on_bundles = (pack, check, push, pull)
    commands = {function.__name__.replace("_", "-"): function for function in on_images + on_data + on_bundles}
    try:
        fire.Fire(commands, command=_help_last(sys.argv[1:] if arguments is None else list(arguments)), name="beyond2d")
    except (InputError, RuntimeError) as error:
        # MONAI wraps what is raised inside of it in a RuntimeError; one that hides no complaint goes on its way.
        complaint = next((cause for cause in _causes(error) if isinstance(cause, InputError)), None)
        if complaint is None:
            raise
        print(f"beyond2d: {complaint}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

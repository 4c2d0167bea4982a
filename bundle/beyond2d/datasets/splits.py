"""Splits of a data set in which no patient is in two parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import InputError

SPLIT_OF_THE_PAPER = (40, 4, 5)


def split_by_patient(
    records: Sequence[Mapping[str, Any]], shares: Sequence[int] = SPLIT_OF_THE_PAPER, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Splits records into `training`, `validation` and `test` such that no patient is in two of them.

    Args:
        records: each with a `patient_id`; a patient may have several.
        shares: how patients are divided; the paper's 44 and 5, of 49, with 4 of the 44 for validation. Other
            totals are divided in proportion, with at least one patient in each part where there are three.
        seed: makes the choice of patients.
    """
    patients = sorted({record["patient_id"] for record in records})
    if len(shares) != 3 or min(shares) < 1:
        raise InputError(f"shares must be three numbers above 0: training, validation, test, got {shares}")
    if not patients:
        raise InputError("records must hold at least one patient, got none")
    num_validation, num_test = (max(1, round(len(patients) * share / sum(shares))) for share in shares[1:])
    num_validation = num_validation if len(patients) > 2 else 0
    num_test = num_test if len(patients) > 1 else 0
    shuffled = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    parts = {
        "test": set(shuffled[:num_test]),
        "validation": set(shuffled[num_test : num_test + num_validation]),
        "training": set(shuffled[num_test + num_validation :]),
    }
    return {
        name: [dict(record) for record in records if record["patient_id"] in parts[name]]
        for name in ("training", "validation", "test")
    }

"""What the classes of a mask are in the words of DICOM: codes of SNOMED CT (SCT) and of DICOM itself (DCM)."""

from __future__ import annotations

from typing import NamedTuple


class Concept(NamedTuple):
    """A coded word."""

    code: str
    scheme: str
    meaning: str


class Property(NamedTuple):
    """What a segment shows: its category and type, and for findings where they are."""

    category: Concept
    type: Concept
    region: Concept | None = None


ANATOMY = Concept("91723000", "SCT", "Anatomical Structure")
ABNORMALITY = Concept("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = Concept("85756007", "SCT", "Tissue")
BLOOD_VESSEL = Concept("59820001", "SCT", "Blood Vessel")
HIPPOCAMPUS = Concept("5366008", "SCT", "Hippocampus")
KIDNEY = Concept("64033007", "SCT", "Kidney")
LUNG = Concept("39607008", "SCT", "Lung")
NEOPLASM = Concept("108369006", "SCT", "Neoplasm")
# Any ill-defined opacity in a lung, ground glass as well as consolidation: what HU can tell, and no disease.
INFILTRATE = Concept("112121", "DCM", "Infiltrate")

UNKNOWN = Property(TISSUE, TISSUE)
PROPERTIES = {
    "aorta": Property(ANATOMY, Concept("15825003", "SCT", "Aorta")),
    "brain": Property(ANATOMY, Concept("12738006", "SCT", "Brain")),
    "cancer": Property(ABNORMALITY, NEOPLASM),
    "heart": Property(ANATOMY, Concept("80891009", "SCT", "Heart")),
    "hippocampus": Property(ANATOMY, HIPPOCAMPUS),
    "hippocampus anterior": Property(ANATOMY, HIPPOCAMPUS),
    "hippocampus posterior": Property(ANATOMY, HIPPOCAMPUS),
    "kidney": Property(ANATOMY, KIDNEY),
    "kidneys": Property(ANATOMY, KIDNEY),
    "left atrium": Property(ANATOMY, Concept("82471001", "SCT", "Left atrium")),
    "liver": Property(ANATOMY, Concept("10200004", "SCT", "Liver")),
    "lung": Property(ANATOMY, LUNG),
    "lung infection": Property(ABNORMALITY, INFILTRATE, LUNG),
    "lungs": Property(ANATOMY, LUNG),
    "pancreas": Property(ANATOMY, Concept("15776009", "SCT", "Pancreas")),
    "prostate": Property(ANATOMY, Concept("41216001", "SCT", "Prostate")),
    "spleen": Property(ANATOMY, Concept("78961009", "SCT", "Spleen")),
    "tumor": Property(ABNORMALITY, NEOPLASM),
    "tumour": Property(ABNORMALITY, NEOPLASM),
    "vessel": Property(ANATOMY, BLOOD_VESSEL),
    "vessels": Property(ANATOMY, BLOOD_VESSEL),
}


def property_of(name: str, anatomy: str | None = None) -> Property:
    """What a class of this name shows; `anatomy` says of what it is a part, where the name alone does not.

    A name that is not listed is called tissue, and nothing is guessed from parts of it.
    """
    whole = f"{anatomy} {name}"
    found = [PROPERTIES.get(" ".join(words.lower().replace("_", " ").split())) for words in (whole, name)]
    return found[0] or found[1] or UNKNOWN

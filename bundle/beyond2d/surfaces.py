"""Surfaces, centrelines and connected parts of volumes (X, Y, Z); meshes as the bytes of STL, PLY and MZ3 files."""

from __future__ import annotations

import gzip
from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse
from skimage.measure import marching_cubes
from skimage.morphology import skeletonize

_SPACE_TAG = "SPACE=LPS"
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_STL_FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_PLY_FACE = np.dtype([("num_corners", "u1"), ("corners", "<i4", 3)])
_SMOOTHING = 0.3
# Voxels that share a face, an edge or a corner belong to the same part.
_NEIGHBOURS_26 = np.ones((3, 3, 3), dtype=bool)


class Mesh(NamedTuple):
    """A triangle mesh: vertices (N, 3) in mm, world RAS; faces (M, 3) of vertex numbers, normals outward."""

    vertices_mm: np.ndarray
    faces: np.ndarray


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box around the true voxels, as slices; of an empty mask a box without voxels."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else slice(0, 0))
    return tuple(box)


def marching_cubes_mesh(volume: np.ndarray, level: float, affine: np.ndarray) -> Mesh:
    """The surface where a volume (X, Y, Z) crosses `level`, placed in mm by `affine` (4, 4; voxel to RAS).

    Outside its grid the volume counts as zero, so every surface is closed. A volume that never rises above
    `level` has the empty mesh.
    """
    inside = volume > level
    if not inside.any():
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int32))
    # The surface lies between a voxel above the level and a neighbour, so one voxel around the box is enough.
    box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in bounding_box(inside))
    padded = np.pad(np.asarray(volume[box], dtype=np.float32), 1)
    # Counter-clockwise faces, seen from outside, are what scikit-image calls "ascent" for bright objects.
    vertices, faces, _, _ = marching_cubes(padded, level, gradient_direction="ascent")
    voxels = vertices.astype(np.float64) + [side.start - 1 for side in box]
    if np.linalg.det(affine[:3, :3]) < 0:  # a mirrored grid turns every face inside out
        faces = faces[:, ::-1]
    return Mesh(voxels @ affine[:3, :3].T + affine[:3, 3], np.ascontiguousarray(faces, dtype=np.int32))


def smoothed(mesh: Mesh, affine: np.ndarray, rounds: int = 20) -> Mesh:
    """The mesh without the steps of the voxels it was made from, of nearly the same volume (Taubin's smoothing).

    Every vertex moves towards the mean of its neighbours, and in the next half of a round a little further away from
    it. At the end none is further than `_SMOOTHING` voxels of the grid (`affine`) from its place along any axis, so
    that what is as thin as a voxel stays.
    """
    if not len(mesh.faces):
        return mesh
    start, end = mesh.faces[:, [0, 1, 2]].ravel(), mesh.faces[:, [1, 2, 0]].ravel()  # of every edge of a closed mesh
    size = len(mesh.vertices_mm)
    links = sparse.csr_matrix((np.ones(len(start)), (start, end)), shape=(size, size))
    num_links = np.maximum(np.asarray(links.sum(axis=1)), 1)
    first = mesh.vertices_mm @ np.linalg.inv(affine[:3, :3]).T
    places = first
    for step in (0.5, -0.53) * rounds:
        places = places + step * (links @ places / num_links - places)
    moved = first + (places - first).clip(-_SMOOTHING, _SMOOTHING)
    return Mesh(moved @ affine[:3, :3].T, mesh.faces)


def simplified(mesh: Mesh, max_faces: int) -> Mesh:
    """The mesh with `max_faces` or fewer: vertices that share a cell of a grid become one.

    What is thinner than a cell, as the hair of a vessel may be, goes with it.
    """
    light = mesh
    if len(mesh.faces) > max_faces:
        corners = mesh.vertices_mm[mesh.faces]
        doubled_mm2 = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        side_mm = np.sqrt(doubled_mm2.sum() / max_faces)  # a closed surface has about two faces a cell it passes
        while len(light.faces) > max_faces:
            light = _clustered(mesh, side_mm)
            side_mm *= 1.15
    return light


def _clustered(mesh: Mesh, side_mm: float) -> Mesh:
    """The mesh with the vertices of each cell of a grid at their mean, and without the faces that thereby vanish."""
    cells = np.floor((mesh.vertices_mm - mesh.vertices_mm.min(axis=0)) / side_mm).astype(np.int64)
    _, number, counts = np.unique(
        np.ravel_multi_index(tuple(cells.T), cells.max(axis=0) + 1), return_inverse=True, return_counts=True
    )
    means = np.stack([np.bincount(number, axis) / counts for axis in mesh.vertices_mm.T], axis=1)
    faces = number[mesh.faces]
    kept = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    return Mesh(means, np.ascontiguousarray(faces[kept], dtype=np.int32))


def mz3_bytes(mesh: Mesh) -> bytes:
    """The mesh as a compressed MZ3 file, world RAS in mm, to 1/64 mm; the smallest that viewers of surfaces read."""
    header = np.array([23117, 3], "<u2").tobytes()  # "MZ": a mesh with faces and vertices
    header += np.array([len(mesh.faces), len(mesh.vertices_mm), 0], "<u4").tobytes()
    vertices = (np.round(mesh.vertices_mm * 64) / 64).astype("<f4")
    return gzip.compress(header + mesh.faces.astype("<i4").tobytes() + vertices.tobytes(), compresslevel=6, mtime=0)


def stl_bytes(mesh: Mesh) -> bytes:
    """The mesh as a binary STL file in mm.

    Coordinates are LPS, which 3D Slicer assumes for meshes and writes itself; the tag SPACE=LPS in the 80-byte
    header says so, and the mesh opens on top of the image it was made from.
    """
    corners = (mesh.vertices_mm * _RAS_TO_LPS)[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    faces = np.zeros(len(corners), dtype=_STL_FACE)
    faces["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    faces["corners"] = corners
    # A binary file must not begin with "solid", the first word of a text STL.
    header = f"beyond2d mesh in mm. {_SPACE_TAG}".encode().ljust(80)
    return header + np.uint32(len(faces)).astype("<u4").tobytes() + faces.tobytes()


def ply_bytes(mesh: Mesh) -> bytes:
    """The mesh as a binary little-endian PLY file in mm, in LPS with the comment SPACE=LPS (see `stl_bytes`)."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"comment beyond2d mesh in mm. {_SPACE_TAG}\n"
        f"element vertex {len(mesh.vertices_mm)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(mesh.faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(mesh.faces), dtype=_PLY_FACE)
    faces["num_corners"] = 3
    faces["corners"] = mesh.faces
    return header.encode() + (mesh.vertices_mm * _RAS_TO_LPS).astype("<f4").tobytes() + faces.tobytes()


def betti0(mask: np.ndarray) -> int:
    """How many separate parts a mask (X, Y, Z) has; voxels that touch at a corner are one part (26-connected)."""
    return int(ndimage.label(mask[bounding_box(mask)], structure=_NEIGHBOURS_26)[1])


def centreline(mask: np.ndarray) -> np.ndarray:
    """The mask (X, Y, Z) thinned to lines of one voxel; same shape, bool.

    scikit-image's thinning wipes out some parts of even width, a cube of 2 x 2 x 2 voxels for one. A part that
    would vanish is kept as it is, so that every part of the mask has a centreline.
    """
    thin = np.zeros(mask.shape, dtype=bool)
    if not mask.any():
        return thin
    box = bounding_box(mask)
    lines = skeletonize(mask[box]).astype(bool)  # earlier releases of scikit-image give 0 and 255
    parts, num_parts = ndimage.label(mask[box], structure=_NEIGHBOURS_26)
    vanished = np.bincount(parts[lines], minlength=num_parts + 1) == 0
    vanished[0] = False  # the background
    thin[box] = lines | vanished[parts]
    return thin

from __future__ import annotations

import numpy as np
import pytest
from skimage.morphology import skeletonize

from beyond2d.surfaces import (
    betti0,
    bounding_box,
    centreline,
    marching_cubes_mesh,
    ply_bytes,
    simplified,
    smoothed,
    stl_bytes,
)

MIRRORED = np.diag([-0.5, 0.5, 0.5, 1.0])
PLACED = np.array([[0.0, -0.7, 0, 30], [0.5, 0, 0, -20], [0, 0, 1.2, 10], [0, 0, 0, 1]])


def ball(size: int, radius: float) -> np.ndarray:
    """Probabilities (X, Y, Z) that fall from 1 to 0 over one voxel around a sphere in the middle."""
    distance = np.linalg.norm(np.indices((size, size, size)) - (size - 1) / 2, axis=0)
    return np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)


def signed_volume(mesh) -> float:
    corners = mesh.vertices_mm[mesh.faces]
    return float(np.einsum("ni,ni->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def area(mesh) -> float:
    corners = mesh.vertices_mm[mesh.faces]
    return float(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    )


def edge_counts(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def read_stl(content: bytes) -> tuple[bytes, np.ndarray]:
    """A binary STL as its header and rows of 12 numbers: normal and three corners."""
    count = int.from_bytes(content[80:84], "little")
    rows = np.frombuffer(content, dtype="u1", offset=84).reshape(count, 50)
    return content[:80], rows[:, :48].copy().view("<f4")


def read_ply(content: bytes) -> tuple[str, np.ndarray, np.ndarray]:
    header, body = content.split(b"end_header\n", 1)
    words = {
        line.split()[1]: int(line.split()[2]) for line in header.decode().split("\n") if line.startswith("element")
    }
    vertices = np.frombuffer(body, dtype="<f4", count=3 * words["vertex"]).reshape(-1, 3)
    rows = np.frombuffer(body, dtype="u1", offset=vertices.nbytes).reshape(words["face"], 13)
    assert (rows[:, 0] == 3).all()
    return header.decode(), vertices, rows[:, 1:].copy().view("<i4")


@pytest.mark.parametrize("affine", [np.eye(4), MIRRORED, PLACED])
def test_sphere_has_its_volume_and_area_and_is_closed(affine):
    mesh = marching_cubes_mesh(ball(40, 14.0), 0.5, affine)
    assert signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * 14**3 * abs(np.linalg.det(affine)), rel=0.01)
    assert (edge_counts(mesh.faces) == 2).all()


def test_sphere_area_in_mm():
    mesh = marching_cubes_mesh(ball(40, 14.0), 0.5, MIRRORED)
    assert area(mesh) == pytest.approx(4 * np.pi * 7**2, rel=0.01)


@pytest.mark.parametrize("affine", [np.eye(4), MIRRORED, PLACED])
def test_vertices_lie_where_the_affine_puts_the_voxels(affine):
    volume = np.zeros((9, 8, 7))
    volume[2:5, 3:6, 1:4] = 1
    mesh = marching_cubes_mesh(volume, 0.5, affine)
    assert np.allclose(mesh.vertices_mm.mean(axis=0), affine[:3, :3] @ [3, 4, 2] + affine[:3, 3], atol=1e-5)
    sides = np.ptp(mesh.vertices_mm, axis=0)
    assert np.allclose(sides, np.abs(affine[:3, :3]) @ [3, 3, 3], atol=1e-5)


def test_surface_closes_at_the_border_of_the_grid():
    mesh = marching_cubes_mesh(np.ones((5, 6, 7)), 0.5, np.eye(4))
    assert (edge_counts(mesh.faces) == 2).all()
    # The cube of voxel sides 5 x 6 x 7 with its edges cut: each cut takes half of a half times a half.
    assert 0.9 * 5 * 6 * 7 < signed_volume(mesh) < 5 * 6 * 7


def test_cropping_leaves_the_surface_as_it_is():
    rng = np.random.default_rng(0)
    volume = np.zeros((20, 20, 20), dtype=np.float32)
    volume[6:13, 4:9, 10:20] = rng.random((7, 5, 10))
    tight = marching_cubes_mesh(volume[5:14, 3:10, 9:], 0.5, np.eye(4))
    whole = marching_cubes_mesh(volume, 0.5, np.eye(4))
    assert np.allclose(whole.vertices_mm, tight.vertices_mm + np.array([5, 3, 9]), atol=1e-5)
    assert (whole.faces == tight.faces).all()


def test_nothing_above_the_level_is_an_empty_mesh():
    mesh = marching_cubes_mesh(np.full((4, 4, 4), 0.3), 0.5, np.eye(4))
    assert mesh.vertices_mm.shape == (0, 3)
    assert mesh.faces.shape == (0, 3)
    assert len(stl_bytes(mesh)) == 84
    assert read_ply(ply_bytes(mesh))[1].shape == (0, 3)


@pytest.mark.parametrize("affine", [np.eye(4), MIRRORED])
def test_stl_holds_the_mesh_in_lps(affine):
    mesh = marching_cubes_mesh(ball(16, 5.0), 0.5, affine)
    header, rows = read_stl(stl_bytes(mesh))
    assert b"SPACE=LPS" in header
    assert not header.startswith(b"solid")
    assert np.allclose(rows[:, 3:].reshape(-1, 3, 3), mesh.vertices_mm[mesh.faces] * [-1, -1, 1], atol=1e-5)
    assert np.allclose(np.linalg.norm(rows[:, :3], axis=1), 1, atol=1e-5)
    centre = (affine @ [7.5, 7.5, 7.5, 1])[:3] * [-1, -1, 1]
    outward = rows[:, 3:].reshape(-1, 3, 3).mean(axis=1) - centre
    assert (np.einsum("ni,ni->n", rows[:, :3], outward) > 0).all()


def test_ply_holds_the_mesh_in_lps():
    mesh = marching_cubes_mesh(ball(16, 5.0), 0.5, PLACED)
    header, vertices, faces = read_ply(ply_bytes(mesh))
    assert "SPACE=LPS" in header
    assert np.allclose(vertices, mesh.vertices_mm * [-1, -1, 1], atol=1e-5)
    assert (faces == mesh.faces).all()


def test_bounding_box_is_the_smallest():
    mask = np.zeros((6, 7, 8), dtype=bool)
    mask[2, 3, 4] = mask[4, 3, 7] = True
    assert bounding_box(mask) == (slice(2, 5), slice(3, 4), slice(4, 8))
    assert mask[bounding_box(np.zeros_like(mask))].size == 0


def count_parts_by_flooding(mask: np.ndarray) -> int:
    left, parts = {tuple(voxel) for voxel in np.argwhere(mask)}, 0
    steps = [tuple(step - 1 for step in steps) for steps in np.ndindex(3, 3, 3)]
    while left:
        parts += 1
        front = [left.pop()]
        while front:
            voxel = front.pop()
            near = {tuple(np.add(voxel, step)) for step in steps} & left
            left -= near
            front.extend(near)
    return parts


@pytest.mark.parametrize("density", [0.0, 0.02, 0.05, 0.2])
def test_betti0_counts_parts_that_touch_at_corners_as_one(density):
    mask = np.random.default_rng(1).random((9, 8, 7)) < density
    assert betti0(mask) == count_parts_by_flooding(mask)


def test_centreline_of_a_tube_is_its_axis():
    x, y, _ = np.indices((21, 21, 40))
    thin = centreline((x - 10) ** 2 + (y - 10) ** 2 <= 16)
    assert 30 < thin.sum() <= 40
    assert (np.abs(np.argwhere(thin)[:, :2] - 10) <= 1).all()


def test_centreline_is_that_of_the_whole_grid():
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[3:9, 10:15, 5:18] = np.random.default_rng(2).random((6, 5, 13)) < 0.7
    assert (centreline(mask) == skeletonize(mask).astype(bool)).all()


def test_a_part_that_thinning_wipes_out_keeps_its_voxels():
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[2:4, 2:4, 2:4] = True
    mask[8, 8, 2:10] = True
    assert not skeletonize(mask)[2:4, 2:4, 2:4].any()
    assert (centreline(mask) == mask).all()
    assert not centreline(np.zeros_like(mask)).any()


@pytest.mark.parametrize("affine", [np.eye(4), PLACED])
def test_a_smooth_surface_has_the_same_volume_and_no_steps(affine):
    mask = (ball(40, 14.0) > 0.5).astype(np.float32)
    rough = marching_cubes_mesh(mask, 0.5, affine)
    smooth = smoothed(rough, affine)
    assert signed_volume(smooth) == pytest.approx(signed_volume(rough), rel=0.02)
    ball_area = area(marching_cubes_mesh(ball(40, 14.0), 0.5, affine))
    assert abs(area(smooth) - ball_area) < 0.4 * abs(area(rough) - ball_area)
    np.testing.assert_array_equal(smooth.faces, rough.faces)


def test_what_is_thin_survives_smoothing():
    line = np.zeros((20, 20, 30), np.float32)
    line[10, 10, 3:27] = 1
    rough = marching_cubes_mesh(line, 0.5, np.eye(4))
    smooth = smoothed(rough, np.eye(4))
    assert signed_volume(smooth) > 0.1 * signed_volume(rough)
    assert (np.ptp(smooth.vertices_mm, axis=0) >= np.array([0.4, 0.4, 23.4]) - 1e-6).all()


@pytest.mark.parametrize(("most", "lost"), [(100, 0.3), (1000, 0.04), (5000, 0.01)])
def test_a_simple_surface_has_few_faces_near_the_first_ones(most, lost):
    mesh = marching_cubes_mesh(ball(60, 25.0), 0.5, PLACED)
    light = simplified(mesh, most)
    assert most / 4 < len(light.faces) <= most < len(mesh.faces)
    assert light.faces.max() < len(light.vertices_mm)
    assert signed_volume(light) == pytest.approx(signed_volume(mesh), rel=lost)


def test_a_surface_that_is_simple_or_empty_stays_as_it_is():
    mesh = marching_cubes_mesh(ball(20, 5.0), 0.5, np.eye(4))
    assert simplified(mesh, len(mesh.faces)) is mesh
    empty = marching_cubes_mesh(np.zeros((4, 4, 4)), 0.5, np.eye(4))
    assert len(simplified(smoothed(empty, np.eye(4)), 10).faces) == 0

"""What the fast mode's LoRA learns of a teacher's paths."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from weights.recipe.few_steps import jump_loss

LEVELS = [1.0, 0.75, 0.5, 0.0]


def straight(noise: Tensor, picture: Tensor) -> Tensor:
    """Return the states of a path without a bend."""
    return torch.stack([picture + level * (noise - picture) for level in LEVELS])


def ends() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 64, generator=generator), torch.randn(2, 3, 64, generator=generator)


@pytest.mark.parametrize("chained", [False, True])
def test_a_student_that_follows_the_teacher_has_nothing_to_learn(chained: bool) -> None:
    noise, picture = ends()
    for step in range(3):
        loss = jump_loss(lambda x, sigma: noise - picture, straight(noise, picture), LEVELS, step=step, chained=chained)
        assert float(loss) < 1e-10


def test_jumps_by_themselves_take_turns_and_start_at_the_teachers_states() -> None:
    noise, picture = ends()
    points = straight(noise, picture)
    seen: list[tuple[float, bool]] = []

    def predict(x: Tensor, sigma: Tensor) -> Tensor:
        level = float(sigma[0])
        seen.append((level, torch.equal(x, points[LEVELS.index(level)])))
        return torch.zeros_like(x)

    for step in range(4):
        jump_loss(predict, points, LEVELS, step=step, chained=False)
    assert seen == [(1.0, True), (0.75, True), (0.5, True), (1.0, True)]


def test_jumps_in_a_row_start_where_the_last_one_ended_and_the_picture_counts_most() -> None:
    noise, picture = ends()
    points = straight(noise, picture)
    loss = jump_loss(lambda x, sigma: torch.zeros_like(x), points, LEVELS, step=0, chained=True)
    missed = [float((points[0] - point).square().mean()) for point in points[1:]]
    assert float(loss) == pytest.approx(0.2 * missed[0] + 0.2 * missed[1] + missed[2], rel=1e-5)

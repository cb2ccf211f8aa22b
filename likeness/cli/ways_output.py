"""A comparison of ways as a table for a person."""

from __future__ import annotations

from likeness.ways.result import WayResult, WaysResult

_HEAD = ("way", "pictures", "identity", "lowest", "to photos", "one face", "scene kept", "adherence", "s a picture",
         "set-up")  # fmt: skip


def describe_ways(result: WaysResult) -> str:
    """Return a line a way, then what went wrong."""
    rows = (result.plain, *result.ways)
    table = [_HEAD, *map(_cells, rows)]
    kept = [column for column in range(len(_HEAD)) if column < 2 or any(row[column] != "–" for row in table[1:])]
    widths = {column: max(len(row[column]) for row in table) for column in kept}
    lines = [
        "  ".join(f"{row[at]:<{widths[at]}}" if at == 0 else f"{row[at]:>{widths[at]}}" for at in kept).rstrip()
        for row in table
    ]
    if result.photos_identity is not None:
        lines.append(f"the other photos have {result.photos_identity:.2f} to the reference")
    lines += [
        f"{way.name}: {len(way.pictures) - way.made} of {len(way.pictures)} pictures are missing: {way.error.message} "
        f"[{way.error.reason}]"
        if way.made < len(way.pictures)
        else f"{way.name}: not all pictures were measured: {way.error.message} [{way.error.reason}]"
        for way in rows
        if way.error is not None
    ]
    return "\n".join([*lines, *(f"note: {warning}" for warning in result.warnings)])


def _cells(way: WayResult) -> tuple[str, ...]:
    return (
        way.name,
        f"{way.made} of {len(way.pictures)}",
        _share(way.identity),
        _share(way.identity_lowest),
        _share(way.identity_to_photos),
        _share(way.one_face),
        _share(way.scene_kept),
        _share(way.adherence),
        "–" if way.seconds is None else f"{way.seconds:.1f}",
        _time(way.set_up_seconds) if way.made else "–",
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds == 0:
        return "none"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

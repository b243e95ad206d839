"""An image that nothing boots: simulated guests want one that is there."""

from pathlib import Path

MANIFEST = '{"kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": "quiet"}'


def make_image(state: Path) -> None:
    """Make the image `tiny` in the storage of a fleet's *state*."""
    folder = state / "images" / "tiny"
    folder.mkdir(parents=True)
    for name, text in (("vmlinuz", "x"), ("initrd.img", "x"), ("image.json", MANIFEST)):
        (folder / name).write_text(text)

"""Draw 120 JPEG images of each of three shapes into the folder `images`."""

import random
from pathlib import Path

from PIL import Image, ImageDraw

draw_with = random.Random(0)
for name in ("circle", "square", "triangle"):
    folder = Path("images", name)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(120):
        image = Image.new("RGB", (48, 40), tuple(draw_with.randrange(80) for _ in range(3)))
        x, y, size = (draw_with.randrange(*bounds) for bounds in ((2, 20), (2, 14), (14, 24)))
        colour = tuple(draw_with.randrange(150, 256) for _ in range(3))
        pen = ImageDraw.Draw(image)
        if name == "circle":
            pen.ellipse((x, y, x + size, y + size), fill=colour)
        elif name == "square":
            pen.rectangle((x, y, x + size, y + size), fill=colour)
        else:
            pen.polygon([(x + size / 2, y), (x, y + size), (x + size, y + size)], fill=colour)
        image.save(folder / f"{number}.jpg")

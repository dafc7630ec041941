"""Which words the texts use most."""

import re
from collections import Counter
from pathlib import Path


def most_used(count: int = 5, folder: str = "texts") -> dict[str, int]:
    used = Counter()
    for text in sorted(Path(folder).glob("*.txt")):
        print("reading", text)
        used.update(re.findall(r"[a-z']+", text.read_text(encoding="utf-8").lower()))
    return dict(used.most_common(count))

"""Several passes over growing files, interrupted anywhere, equal one run in which they grow."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from helpers import CASE_FACTOR, get_seeds, read_contents

from stream_perceptron import LiveModel
from stream_perceptron.data import open_source
from stream_perceptron.live.loop import learn

PASSES = 3
CASES = 40


class Growing:
    """Files whose contents arrive in parts, and a model that learns them."""

    def __init__(self, folder: Path, seed: int):
        folder.mkdir()
        self.folder = folder
        rng = random.Random(seed)
        self.paths = [folder / f"{i}.jsonl" for i in range(rng.randint(1, 3))]
        # The parts of each file that arrive later; a part may end within a line.
        self.parts = {}
        for i, path in enumerate(self.paths):
            lines = "".join(self.draw_line(rng, i) for _ in range(rng.choice([0, 3, 20])))
            # A whole line without its newline is learned; a reader may or may not see the newline.
            allowed = [0, *(i for i in range(1, len(lines)) if lines[i] not in "\r\n")]
            cuts = sorted(rng.choices(allowed, k=rng.randint(0, 3)))
            starts = [0, *cuts]
            self.parts[path] = [lines[a:b] for a, b in zip(starts, [*cuts, None], strict=True)]
            path.write_text(self.parts[path].pop(0))
        self.path, self.live = folder / "m.npz", None

    def draw_line(self, rng, i):
        if rng.random() < 0.1:
            return rng.choice(["\n", "\r\n"])
        return f'{{"a": {rng.randrange(-9, 9)}, "f{i}": 1, "label": "{rng.choice("xyz")}"}}\n'

    def run(self, n_steps=None, after_step=lambda result: None):
        """Learn with the same command as before, in steps of one row."""
        sources = [open_source(str(path)) for path in self.paths]
        self.live = LiveModel.load(self.path) if self.path.exists() else None
        self.live = self.live or LiveModel.start(sources, seed=0)
        results = learn(self.live, sources, passes=PASSES, every=1, skip_rejected=True)
        steps = 0
        for result in results:
            after_step(result)
            steps += len(result.batch)
            if steps == n_steps:
                break
        results.close()
        if self.live.progress.rows:
            self.live.save(self.path)
        return steps

    def grow(self, path):
        with path.open("a") as file:
            file.write(self.parts[path].pop(0))

    def find_growable(self, result):
        """Return the files that may grow: those with rows and a pass left, or not read yet.

        A run that has opened a file to read its new rows may or may not see others that arrive.
        """
        passes = {each.name: each.passes for each in self.live.history.positions}
        current = self.paths.index(Path(result.batch.source))
        first = current if passes.get(result.batch.source) == 0 else len(self.paths)
        return [
            path
            for i, path in enumerate(self.paths)
            if self.parts[path]
            and passes.get(str(path), PASSES if i < first else 0) < PASSES
            and (result.is_repeated or i != current)
        ]


def test_interrupted_passes_equal_one_run(tmp_path):
    for seed in get_seeds(CASES * CASE_FACTOR):
        rng = random.Random(seed)
        whole = Growing(tmp_path / "case", seed)
        if any(path.read_text().strip() for path in whole.paths):
            growth = []  # how many rows were read before each growth, and which file has grown

            def grow_at_random(result, whole=whole, rng=rng, growth=growth):
                files = whole.find_growable(result)
                if len(result.batch) and files and rng.random() < 0.2:
                    path = rng.choice(files)
                    growth.append((whole.live.progress.rows, path))
                    whole.grow(path)

            whole.run(after_step=grow_at_random)
            contents = whole.path.exists() and read_contents(whole.path)
            shutil.rmtree(whole.folder)
            split, left = Growing(whole.folder, seed), list(growth)

            def grow_as_before(result, split=split, left=left):
                while len(result.batch) and left and left[0][0] == split.live.progress.rows:
                    split.grow(left.pop(0)[1])

            while split.run(rng.randint(1, 12), grow_as_before):
                pass
            assert contents == (split.path.exists() and read_contents(split.path)), seed
        shutil.rmtree(whole.folder)

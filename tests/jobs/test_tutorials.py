"""The tutorials, followed: their commands in order as they stand, in a fresh folder, print what the pages show."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.serve import free_port

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^((?: {4}[^\n]*\n)+)|^```text\n(.*?)^```", re.M | re.S)
SERVE, TUNE = "value-model serve ", "value-model tune "  # what runs on; what may end with status 1
READY = 'until curl -sf localhost:{port}/readyz > /dev/null; do kill -0 "$server"; sleep 0.5; done'
PAGES = {  # whether they begin with the run that `make demo` leaves
    "data_scientist": False,
    "night_engineer": True,
    "product_manager": True,
}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tutorials")]


@dataclass(frozen=True)
class Step:
    """A block of commands, and the lines of what they print, of which `…` stands for anything."""

    commands: str
    shown: tuple[str, ...]

    def missing(self, printed: str) -> list[str]:
        """The lines that are shown and not printed."""
        lines = [" ".join(line.replace("│", " ").split()) for line in printed.splitlines()]
        patterns = {line: ".*".join(re.escape(part.strip()) for part in line.split("…")) for line in self.shown}
        return [line for line, pattern in patterns.items() if not any(re.search(pattern, one) for one in lines)]


def steps(page: str) -> list[Step]:
    text, found = (ROOT / "docs" / "tutorials" / f"{page}.md").read_text("utf-8"), list[Step]()
    for commands, shown in BLOCK.findall(text):
        if commands:
            found.append(Step(re.sub("^ {4}", "", commands, flags=re.M), ()))
        else:
            found[-1] = Step(found[-1].commands, (*found[-1].shown, *shown.splitlines()))
    return found


def script(followed: list[Step], *, port: int) -> str:
    """Each step's output goes to a file of its own; the first command that fails ends it."""
    lines = ["set -euo pipefail", "server=", 'trap \'[ -z "$server" ] || kill "$server"\' EXIT']
    for number, step in enumerate(followed):
        commands, output = step.commands.strip().replace("8080", str(port)), f"> {number}.txt 2>&1"
        if commands.startswith(SERVE):
            lines += [f"{commands} {output} &", "server=$!", READY.format(port=port)]
        else:
            lines.append(f"{{ {commands}\n}} {output}" + (" || [ $? = 1 ]" if commands.startswith(TUNE) else ""))
    return "\n".join([*lines, '[ -z "$server" ] || { kill "$server"; wait "$server"; server=; }', ""])


def run(command: list[str], folder: Path) -> None:
    """With this tree's program; what it printed is shown where it fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    printed = sorted(folder.glob("*.txt"), key=lambda file: file.stat().st_mtime)
    last = printed[-1].read_text()[-3000:] if printed else ""
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}\n{last}"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that `make demo` leaves."""
    home = tmp_path_factory.mktemp("demo")
    run(["value-model", "demo"], home)
    return home / "runs"


@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_is_followed(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if PAGES[page]:
        run(["cp", "-a", str(request.getfixturevalue("demo")), "runs"], tmp_path)
    followed = steps(page)
    assert sum(len(step.shown) for step in followed) >= 5
    (tmp_path / "tutorial.sh").write_text(script(followed, port=free_port()))
    run(["bash", "tutorial.sh"], tmp_path)
    printed = [(tmp_path / f"{number}.txt").read_text() for number in range(len(followed))]
    missing = {step.commands: step.missing(output) for step, output in zip(followed, printed, strict=True)}
    assert {commands: lines for commands, lines in missing.items() if lines} == {}

"""Known vulnerabilities of what the lock files pin, by pip-audit: python deploy/audit.py PIP_AUDIT LOCK...

Exits with 1 where there are some. Packages for which the registry does not answer are no reason to fail: they are named
as not audited.
"""

from __future__ import annotations

import json
import subprocess
import sys


def audit(program: str, lock: str) -> tuple[bool, str]:
    """(whether a vulnerability is known, what to print) of one lock file."""
    command = [program, "--progress-spinner=off", "--require-hashes", "--disable-pip", "--format=json"]
    answer = subprocess.run([*command, "--requirement", lock], capture_output=True, text=True)
    try:
        packages = json.loads(answer.stdout)["dependencies"]
    except ValueError:
        return False, f"{lock}: NOT audited: {(answer.stderr.strip().splitlines() or ['no answer'])[-1]}"
    unanswered = [package["name"] for package in packages if "skip_reason" in package]
    flaws = [
        f"{lock}: {package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions'])}"
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    lines = [*flaws, f"{lock}: {len(packages) - len(unanswered)} packages audited, {len(flaws)} known vulnerabilities"]
    if unanswered:
        lines.append(f"{lock}: NOT audited, the registry does not answer for {', '.join(unanswered)}")
    return bool(flaws), "\n".join(lines)


if __name__ == "__main__":
    answers = [audit(sys.argv[1], lock) for lock in sys.argv[2:]]
    print("\n".join(text for _, text in answers))
    sys.exit(any(vulnerable for vulnerable, _ in answers))

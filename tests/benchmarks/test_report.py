from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from benchmarks import report


def result(benchmark: str = "stream", **results: object) -> dict[str, object]:
    return report.line(benchmark, "backlog", "payments", results, 1.0, {"before": {"lost": 1}})


def test_a_run_ends_with_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    report.finish(result(records_per_s=20_000))
    (text,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(text)) == set(report.FIELDS)


def test_the_page_has_a_section_for_each_benchmark_and_a_column_for_each_baseline(
    tmp_path: Path,
) -> None:
    lines = [
        result("stream", records_per_s=20_123, lost=0, share_of_time={"poll": 0.25, "save": 0.5}),
        result("latency", p99_ms=41.234),
    ]
    for number, found in enumerate(lines):
        (tmp_path / f"{number}.json").write_text(json.dumps(found))
    page = tmp_path / "page.md"
    report.main([*map(str, sorted(tmp_path.glob("*.json"))), "--to", str(page)])
    text = page.read_text()
    assert text.index("## latency") < text.index("## stream")
    assert "| records_per_s | 20,123 | - |" in text
    assert "| lost | 0 | 1 |" in text
    assert "| share_of_time | poll 0.25, save 0.5 | - |" in text
    assert "| p99_ms | 41.2 | - |" in text


@pytest.mark.parametrize(
    ("content", "named"), [("nonsense", "is not JSON"), ('{"benchmark": "stream"}', "lacks")]
)
def test_a_file_that_is_no_result_is_refused_by_name(
    tmp_path: Path, content: str, named: str
) -> None:
    file = tmp_path / "broken.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=rf"broken\.json {named}"):
        report.read([file])


def test_the_page_in_docs_is_made_from_the_kept_results() -> None:
    kept = report.read(sorted(report.RESULTS.glob("*.json")))
    assert report.PAGE.read_text(encoding="utf-8") == report.render(kept)


@pytest.mark.parametrize(
    "name", ["stream", "latency", "score", "fanout", "console", "report", "root_cause"]
)
def test_every_benchmark_explains_itself(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m benchmarks.{name}" in done.stdout

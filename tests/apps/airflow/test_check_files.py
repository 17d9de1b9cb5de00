"""Which files are checked, and what becomes of those that can't be read."""

from __future__ import annotations

import json
import os
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pgmux_apps.airflow.checker import contexts, objects, uses
from tests.apps.airflow.checking import Checker

HOOK = "import psycopg2\nconn = psycopg2.connect('port=6432')\nconn.close()\n"
FOUND = "AIR002 {}:2"


def notebook(*cells: object, language: str = "python") -> str:
    """A notebook of code cells, each the source or the whole cell."""
    whole = [
        cell if isinstance(cell, dict) else {"cell_type": "code", "source": cell} for cell in cells
    ]
    metadata = {"language_info": {"name": language}}
    return json.dumps({"cells": whole, "metadata": metadata, "nbformat": 4}, indent=1)


def test_a_folder_without_findings_ends_with_0(checker: Checker) -> None:
    checker.write({"a.py": "x = 1\n"})
    answer = checker.run("dags")
    assert (answer.code, answer.out) == (0, "1 file checked, nothing found\n")


def test_findings_end_with_1(checker: Checker) -> None:
    checker.write({"a.py": HOOK})
    assert checker.run("dags").code == 1


def test_a_missing_folder_can_not_be_checked(checker: Checker) -> None:
    answer = checker.run("nowhere")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "pgmux-airflow check: nowhere: No such file or directory\n"


def test_a_file_in_the_place_of_the_folder_can_not_be_checked(checker: Checker) -> None:
    checker.write({"a.py": HOOK})
    answer = checker.run("dags/a.py")
    assert answer.code == 2
    assert "isn't a folder; name the file behind its DAGs folder" in answer.err


@pytest.mark.parametrize("files", [{}, {"README.md": "", "sub/x.txt": ""}])
def test_a_folder_without_python_can_not_be_checked(
    checker: Checker, files: dict[str, str]
) -> None:
    checker.write(files)
    answer = checker.run("dags")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no Python file to check in dags" in answer.err


def test_single_files_are_checked_with_the_folder_behind_their_names(checker: Checker) -> None:
    checker.write(
        {
            "a.py": HOOK,
            "sub/b.py": "from lib import connect\nconnect()\n",
            "lib.py": "import psycopg\ndef connect():\n    return psycopg.connect('port=6432')\n",
        }
    )
    answer = checker.run("dags", "dags/sub/b.py", "--json")
    assert answer.findings == ["AIR002 dags/sub/b.py:2", "AIR004 dags/sub/b.py:2"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dags/missing.py", "dags/missing.py: No such file or directory"),
        ("outside.py", "outside.py isn't in dags"),
        ("dags/sub", "dags/sub is a folder"),
        ("dags/../outside.py", "outside.py isn't in dags"),
    ],
)
def test_a_single_file_that_is_none_of_the_folder_is_refused(
    checker: Checker, name: str, message: str
) -> None:
    checker.write({"a.py": HOOK, "sub/b.py": HOOK, "../outside.py": HOOK})
    answer = checker.run("dags", name)
    assert answer.code == 2
    assert message in answer.err


def test_a_file_that_is_not_python_is_named_with_its_line_and_the_rest_goes_on(
    checker: Checker,
) -> None:
    files = {"a.py": "x = 1\ndef f(:\n    pass\n", "b.py": HOOK}
    assert checker.findings(files) == ["AIR000 a.py:2", FOUND.format("b.py")]
    [found, _] = checker.run("dags", "--json").json["findings"]
    assert found["column"] == 7
    assert found["message"] == "invalid syntax"


@pytest.mark.parametrize(
    "content",
    [
        b"x = '\xff'\n",
        b"x = 1\x00\n",
        b"# coding: no-such-encoding\nx = 1\n",
        b"# coding: ascii\nx = '\xc3\xa4'\n",
        b"\xff\xfex\x00=\x001\x00",
        b"x = " + b"(" * 5000 + b")" * 5000,
        b"x = " + b"[" * 150 + b"]" * 150 + b"\n" + b"-" * 100_000 + b"1\n",
        b"if 1:\n\tx = 1\n        y = 2\n",
        b"print 'hello'\n",
    ],
    ids=["utf-8", "nul", "encoding", "ascii", "utf-16", "nested", "unary", "tabs", "python2"],
)
def test_what_python_can_not_read_is_one_finding(checker: Checker, content: bytes) -> None:
    assert [each.split(":")[0] for each in checker.findings({"a.py": content})] == ["AIR000 a.py"]


@pytest.mark.parametrize(
    "content",
    [
        HOOK.encode("utf-8-sig"),
        HOOK.replace("\n", "\r\n").encode(),
        HOOK.replace("\n", "\r").encode(),
        b"# -*- coding: cp1251 -*-; import psycopg2\n" + HOOK.encode("cp1251")[16:],
        ("import psycopg2\nconn = psycopg2.connect('port=6432'); ä = conn.close()\n").encode(),
    ],
    ids=["bom", "windows", "mac", "pep263", "letters"],
)
def test_encodings_and_line_ends_of_all_kinds_are_read(checker: Checker, content: bytes) -> None:
    if b"cp1251" in content:
        content = content.replace(b"conn = ", "conn = 'д' and ".encode("cp1251"))
        content = b"# coding: cp1251\nimport psycopg2;" + content.split(b"\n", 1)[1]
    found = checker.findings({"a.py": content}, "--select", "AIR002,AIR000")
    assert found == [FOUND.format("a.py")]


def test_columns_count_characters(checker: Checker) -> None:
    checker.write(
        {"a.py": "import psycopg\näöü = '€'; c = psycopg.connect('port=6432')\nc.close()\n"}
    )
    [found] = checker.run("dags", "--json").json["findings"]
    assert (found["line"], found["column"]) == (2, 16)


def test_a_deep_tree_that_python_takes_is_checked_or_named(checker: Checker) -> None:
    deep = "x = " + " + ".join(["1"] * 3000) + "\n" + "y = " + "(" * 90 + ")" * 90 + "\n"
    assert [each.split(":")[0] for each in checker.findings({"a.py": deep, "b.py": HOOK})] in (
        ["AIR002 b.py"],
        ["AIR000 a.py", "AIR002 b.py"],
    )


def test_a_file_of_50_mb_is_named_and_not_read(checker: Checker) -> None:
    checker.write({"a.py": "", "b.py": HOOK})
    with (checker.folder / "a.py").open("wb") as file:
        file.truncate(50_000_000)
    checker_findings = checker.findings({})
    assert checker_findings == ["AIR000 a.py:1", FOUND.format("b.py")]
    assert "50.0 MB" in checker.run("dags", "--json").messages[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(checker: Checker) -> None:
    checker.write({"a.py": HOOK, "b.py": HOOK})
    (checker.folder / "a.py").chmod(0)
    assert checker.findings({}) == ["AIR000 a.py:1", FOUND.format("b.py")]


def test_pipes_sockets_and_devices_hold_up_nothing(checker: Checker) -> None:
    checker.write({"b.py": HOOK})
    os.mkfifo(checker.folder / "pipe.py")
    os.mkfifo(checker.folder / ".airflowignore")
    (checker.folder / "device.py").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("dags/socket.py")
        assert checker.findings({}) == [FOUND.format("b.py")]
    skipped = {
        each["file"]: each["reason"] for each in checker.run("dags", "--json").json["skipped"]
    }
    assert skipped == {
        "dags/.airflowignore": "not a regular file",
        "dags/pipe.py": "not a regular file",
        "dags/device.py": "not a regular file",
        "dags/socket.py": "not a regular file",
    }


def test_links_are_followed_into_each_folder_once(checker: Checker, tmp_path: Path) -> None:
    checker.write({"a.py": HOOK, "sub/b.py": HOOK, "../outside/c.py": HOOK})
    (checker.folder / "sub" / "up").symlink_to("..")
    (checker.folder / "self").symlink_to(".")
    (checker.folder / "out").symlink_to(tmp_path / "outside")
    (checker.folder / "out2").symlink_to(tmp_path / "outside")
    (checker.folder / "root").symlink_to("/")
    (checker.folder / "circle.py").symlink_to("circle.py")
    (checker.folder / "gone.py").symlink_to("nothing.py")
    (checker.folder / "linked.py").symlink_to(tmp_path / "outside" / "c.py")
    names = ["a.py", "linked.py", "out/c.py", "sub/b.py"]
    assert checker.findings({}) == [FOUND.format(name) for name in names]
    skipped = {
        each["file"]: each["reason"] for each in checker.run("dags", "--json").json["skipped"]
    }
    loop = "a link to a folder that was read already; Airflow stops here"
    assert skipped == {
        "dags/circle.py": "a symbolic link that leads to itself",
        "dags/gone.py": "a symbolic link to nothing",
        **dict.fromkeys(["dags/self", "dags/root", "dags/sub/up", "dags/out2"], loop),
    }


def test_a_notebooks_cells_are_one_program_and_findings_name_cell_and_line(
    checker: Checker,
) -> None:
    cells = (
        {"cell_type": "markdown", "source": "# DAG"},
        ["%load_ext sql\n", "import psycopg2\n", "!pip install x\n"],
        "%%bash\nls\n",
        "%%time\nfiles = !ls\nprint?\nawait something\n",
        "def f(:\n",
        "def f():\n    conn = psycopg2.connect('port=6432')\n",
    )
    checker.write({"a.ipynb": notebook(*cells)})
    found = checker.run("dags", "--json").json["findings"]
    assert [(each["rule"], each["cell"], each["line"]) for each in found] == [
        ("AIR000", 5, 1),
        ("AIR004", 6, 2),
    ]
    assert "dags/a.ipynb:cell 6:2:12" in checker.run("dags").out


def test_a_notebook_that_makes_a_dag_is_read_as_a_dag_file_is(checker: Checker) -> None:
    cell = "import psycopg2\nconn = psycopg2.connect('port=6432')\nconn.close()"
    files = {"a.ipynb": notebook(cell), "b.ipynb": notebook("from airflow import DAG", cell)}
    assert checker.findings(files) == ["AIR002 b.ipynb:2"]


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        (b"", ["AIR000"]),
        (b"{", ["AIR000"]),
        (b"[]", ["AIR000"]),
        (b"\xff", ["AIR000"]),
        (b'{"cells": 1}', ["AIR000"]),
        (b'{"cells": [1]}', ["AIR000"]),
        (b'{"worksheets": [1]}', ["AIR000"]),
        (b"[" * 100_000, ["AIR000"]),
        (b"{}", []),
        (b'{"cells": [{"cell_type": "code", "source": 3}]}', []),
        (b'{"cells": [{"cell_type": "code", "source": [3, null]}], "metadata": []}', []),
        (notebook("x <- 1", language="R").encode(), []),
    ],
)
def test_a_broken_notebook_is_one_finding_and_a_strange_one_none(
    checker: Checker, content: bytes, rules: list[str]
) -> None:
    found = checker.findings({"a.ipynb": content})
    assert [each.split()[0] for each in found] == rules


def test_an_old_notebooks_cells_are_found_too(checker: Checker) -> None:
    cell = {"cell_type": "code", "input": "import psycopg2\npsycopg2.connect('')\n"}
    text = json.dumps({"worksheets": [{"cells": [cell]}], "nbformat": 3})
    assert checker.findings({"a.ipynb": text}) == ["AIR004 a.ipynb:2"]


def test_python_files_in_a_zip_file_are_checked_as_a_folder_of_their_own(
    checker: Checker,
) -> None:
    with zipfile.ZipFile(checker.folder / "dags.zip", "w") as archive:
        archive.writestr("d.py", "from lib.db import connect\nc = connect()\nc.close()\n")
        archive.writestr(
            "lib/db.py", "import psycopg\ndef connect():\n    return psycopg.connect('')"
        )
        archive.writestr("README", "")
    assert checker.findings({}) == ["AIR002 dags.zip/d.py:2"]


def test_a_zip_file_that_can_not_be_read_is_named(checker: Checker) -> None:
    with zipfile.ZipFile(checker.folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", b"#" * 20_000_000)
    answer = checker.findings({"broken.zip": b"PK\x03\x04", "b.py": HOOK})
    assert answer == [FOUND.format("b.py"), "AIR000 bomb.zip/a.py:1"]
    [skipped] = checker.run("dags", "--json").json["skipped"]
    assert skipped["file"] == "dags/broken.zip"


def test_other_files_and_caches_are_left_alone(checker: Checker) -> None:
    files = {"a.py": "", "b.pyc": HOOK, "c.py.txt": HOOK, "__pycache__/d.py": HOOK}
    assert checker.findings(files) == []


def test_airflowignore_leaves_out_what_airflow_leaves_out(checker: Checker) -> None:
    files = {
        ".airflowignore": "skipped_.*\n# comment\nsub/deep  # behind\n(\n",
        "skipped_1.py": HOOK,
        "a.py": HOOK,
        "sub/deep/b.py": HOOK,
        "sub/c.py": HOOK,
        "sub/.airflowignore": "d\\.py",
        "sub/d.py": HOOK,
        "d.py": HOOK,
    }
    found = checker.findings(files, "--airflow", "2")
    assert found == [FOUND.format(name) for name in ("a.py", "d.py", "sub/c.py")]
    [skipped] = checker.run("dags", "--json", "--airflow", "2").json["skipped"]
    assert skipped["reason"] == "the pattern '(' can't be used as regexp"


def test_airflowignore_has_gitignores_syntax_in_airflow_3(checker: Checker) -> None:
    files = {
        ".airflowignore": "skipped_*\n!skipped_2.py\n/top.py\nfolder/\n**/deep/x.py\n",
        "skipped_1.py": HOOK,
        "skipped_2.py": HOOK,
        "top.py": HOOK,
        "sub/top.py": HOOK,
        "folder/a.py": HOOK,
        "sub/deep/x.py": HOOK,
        "sub/.airflowignore": "/only.py",
        "sub/only.py": HOOK,
        "only.py": HOOK,
    }
    found = checker.findings(files, "--airflow", "3")
    assert found == [FOUND.format(name) for name in ("only.py", "skipped_2.py", "sub/top.py")]


def test_an_ignored_helper_is_still_followed(checker: Checker) -> None:
    files = {
        ".airflowignore": "lib\n",
        "lib/db.py": "import psycopg\nX = psycopg.connect('')\ndef f():\n    psycopg.connect('')\n",
        "d.py": "from airflow.sdk import task\nfrom lib.db import f\n@task\ndef t():\n    f()\n",
    }
    assert checker.findings(files) == ["AIR001 d.py:3"]


def test_excluded_files_are_left_out(checker: Checker) -> None:
    files = {"a.py": HOOK, "old/b.py": HOOK, "c_test.py": HOOK}
    found = checker.findings(files, "--exclude", "old/", "--exclude", "*_test.py")
    assert found == [FOUND.format("a.py")]
    answer = checker.run("dags", "dags/c_test.py", "dags/old/b.py", "--json", "--exclude", "*.py")
    assert (answer.code, answer.findings) == (0, [])


def test_a_name_that_moves_the_cursor_is_made_printable(checker: Checker) -> None:
    checker.write({"a\x1b[2J\n.py": HOOK})
    (checker.folder / os.fsdecode(b"b\xff.py")).write_text(HOOK)
    for form in ([], ["--json"], ["--sarif"]):
        answer = checker.run("dags", *form)
        assert answer.code == 1
        assert "\x1b" not in answer.out
        answer.out.encode()


def test_many_files_are_more_than_are_kept_in_memory(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgmux_apps.airflow.checker import names

    monkeypatch.setattr(names, "MOST_KEPT", 1)
    files = {
        "db.py": "import psycopg\ndef f():\n    psycopg.connect('').close()\n",
        **{
            f"d{number}.py": "from airflow.sdk import task\nfrom db import f\n"
            "@task\ndef t():\n    f()\n"
            for number in range(5)
        },
    }
    assert checker.findings(files) == [f"AIR001 d{number}.py:3" for number in range(5)]


def chain(line: str, first: str, length: int = 14) -> str:
    """A line again and again, `{0}` the number and `{1}` the next; the first of it last."""
    lines = [line.format(number, number + 1) * 4 for number in range(length)]
    return "".join(lines) + first


def count_calls(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> Callable[[], int]:
    """How often a function of a module has been called from now on."""
    calls = 0
    real = getattr(module, name)

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return real(*arguments)

    monkeypatch.setattr(module, name, counted)
    return lambda: calls


@pytest.mark.parametrize(
    "text",
    [
        chain("x{0} = x{1}\n", "x0.run()\n"),
        chain("x{0} = x{1}.a\nx{0} = x{1}.b\n", "x0.get_conn()\n"),
        chain("x{0} = a{0}.f(x{1})\na{0} = x{1}\n", "x0.get_conn()\n"),
        chain("d{0} = {{**d{1}, **d{1}, **d{1}}} | d{1}\n", "O(task_id='x', sql='', **d0)\n"),
        chain("class C{0}(C{1}, D{1}): pass\nD{0} = C{0}\n", "C0(task_id='x')\n"),
        chain("def f{0}():\n    f{1}()\n    return f{1}()\n", "f0().get_conn()\n"),
        chain("def f{0}(dag):\n    O(dag=dag)\n    f{1}(dag); f{1}(dag)\n", "f0(1)\nf0(2)\n"),
        chain("x{0} = x{1} + x{1} + x{1}\n", "O(task_id='x', pool=x0)\n", 8),
    ],
)
def test_names_that_multiply_end_before_the_reader_does(checker: Checker, text: str) -> None:
    imports = "from airflow.providers.common.sql.operators.sql import SQLCheckOperator as O\n"
    checker.rules(imports + text)


def test_a_function_that_many_tasks_call_is_looked_at_once(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = count_calls(monkeypatch, uses, "_direct_use")
    returned = count_calls(monkeypatch, objects, "_find_returned")
    calls = "".join(f"    t{number}()\n" for number in range(30))
    tasks = (f"@task\ndef t{number}():\n{calls}" for number in range(30))
    assert checker.rules("from airflow.sdk import task\n" + "".join(tasks)) == []
    # one more for each task's decorator, and for the depths that a call is asked at
    assert 30 <= looked() <= 90
    assert 30 <= returned() <= 30 * 8


def test_a_task_whose_makers_are_called_again_and_again_is_asked_about_few_of_them(
    checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    climbed = count_calls(monkeypatch, contexts, "_climb")
    makers = (f"def f{number + 1}():\n" + f"    f{number}()\n" * 30 for number in range(6))
    make = "def f0():\n    SQLCheckOperator(task_id='x', sql='')\n"
    imports = "from airflow.providers.common.sql.operators.sql import SQLCheckOperator\n"
    assert checker.rules(imports + make + "".join(makers)) == ["AIR001"]
    assert climbed() <= 2 * 4 * contexts.MOST_CONTEXTS  # 1,620,000 without a bound at each step


def test_nothing_of_a_file_is_imported_or_run(checker: Checker) -> None:
    checker.write({"a.py": "import sys\nsys.exit(7)\nopen('made', 'w')\n", "zope_x.py": "1/0\n"})
    before = set(sys.modules)
    assert checker.run("dags").code == 0
    assert not Path("made").exists()
    assert "a" not in set(sys.modules) - before

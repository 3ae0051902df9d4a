"""Mutation testing: mistakes are put into a copy of the code, one at a time, and each has to make a test fail.

    python tests/mutants.py             tries what is new or survived the last time; writes results/mutants.md
    python tests/mutants.py WORD ...    tries those with a WORD in class, place or text; writes no page

tests/mutants.txt lists the mistakes. What files share to the letter is changed in all of them at once, so that no
comparison of copies sees it; tests that compare text or recorded digits are left out. results/mutants.json has the
answers.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

ROOT, LIST = Path(__file__).parents[1], Path(__file__).with_suffix(".txt")
KEPT, PAGE = ROOT / "results" / "mutants.json", ROOT / "results" / "mutants.md"
TEXT = {f"{d}/{f.stem}": f.read_text() for d in ("algos", "common") for f in sorted((ROOT / d).glob("*.py"))}
ALGOS = [name.removeprefix("algos/") for name in TEXT if name.startswith("algos/")]
TESTS = {"algos": "{} losses gradient_penalty flags steps networks learning run", "common/run": "resume run cuda amp",
         "common/device": "run cuda", "common/data": "data", "common/metrics": "metrics properties"}  # fmt: skip
LEFT_OUT = """test_penalty_is_that_of_wgan_gp test_the_penalty_is_r1_s test_the_two_copies_of_the_layer_are_the_same
test_every_penalty_is_tested test_every_loss_that_is_not_nsgans_has_a_test test_track_offline
test_when_nobody_reads_on_it_ends_without_a_word""".split()  # of text, or of other commands
LIBRARIES = "torch._dynamo scipy.optimize sklearn.datasets torchvision hypothesis tyro xdist pytest".split()
WITHOUT, SAMPLE = shutil.ignore_patterns(".git", "runs", "*.gif", "__pycache__"), 8  # one in 8 of those of patterns


class Mutant:
    def __init__(self, title, place, edits, tests=None, reason=None, text=None):
        """edits: {file: [(old, new), ...]}; tests: instead of those of TESTS; reason: why it may survive."""
        self.title, self.place, self.edits, self.reason = title, place, edits, reason
        self.text = text or "; ".join(f"{old} => {new}" for old, new in [*edits.values()][0]).replace("\n", " ")
        for file, pairs in edits.items():
            assert all(old in TEXT[file] for old, _ in pairs), f"{LIST}: {file}.py has not {pairs}"
        own = {file.removeprefix("algos/") for file in edits if file.startswith("algos/")}
        self.algos = {"nsgan"} if "nsgan" in own or not own else own
        tests = " ".join((tests or TESTS["algos" if own else [*edits][0]]).format(algo) for algo in sorted(self.algos))
        tests = dict.fromkeys(re.sub(r"^\w+", r"tests/test_\g<0>.py", name) for name in tests.split())
        self.tests = [test for test in tests if (ROOT / test.partition(":")[0]).exists()]
        self.key = hashlib.sha256(repr((sorted(edits.items()), self.tests)).encode()).hexdigest()[:16]


def functions(text):
    """(name, source, lines of its head) of each function in a file, of those in train() and of its loop."""
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    inner = {n for node in found if node.name != "train" for n in ast.walk(node) if n is not node}
    for node in found:
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        source = "".join(text.splitlines(keepends=True)[first - 1 : node.end_lineno])
        if node.name == "train" and "D=D, g_opt=g_opt, d_opt=d_opt):" in source:
            yield "loop", source.partition("    # loop\n")[2], 0
        elif node not in inner and node.name not in ("train", "__init__", "__post_init__", "layers_of"):
            yield node.name, source, node.body[bool(ast.get_docstring(node))].lineno - first


def mutants():
    """All of mutants.txt, whose head says how its lines are read."""
    title, rules, argued, shared = None, [], {}, {}
    for line in LIST.read_text().partition("\n## ")[2].splitlines():
        title = line.removeprefix("## ") if line.startswith("## ") or not title else title
        if line.startswith("~ "):
            rules.append((title, *line[2:].split(" =>")))
        elif line.startswith("= "):
            argued.update([line[2:].split(" ## ")])
        elif parts := re.fullmatch(r"([\w/,*]+): (.* =>.*?)(?: @ ([\w: ]+))?(?: ## (.*))?", line):
            place, edits, tests, reason = parts.groups()
            pairs = [tuple(x.strip().replace("¶", "\n") for x in edit.split(" =>")) for edit in edits.split(" ;; ")]
            names = place.split(",") if place != "*" else [n for n in ALGOS if pairs[0][0] in TEXT[f"algos/{n}"]]
            files = [name if "/" in name else f"algos/{name}" for name in names]
            yield Mutant(title, place, dict.fromkeys(files, pairs), tests, reason)
    for file in [*(f"algos/{name}" for name in ALGOS), "common/metrics"]:
        for part in functions(TEXT[file]):
            shared.setdefault(part, []).append(file)
    for (name, source, head), files in shared.items():
        lines = source.splitlines(keepends=True)
        place = files[0].removeprefix("algos/") + f" and {len(files) - 1} more" * (len(files) > 1) + f", {name}"
        for number, line in enumerate(lines):
            code = line.partition("  #")[0].rstrip()
            for title, pattern, new in rules if number >= head or code.strip().startswith("@") else ():
                for found in re.finditer(pattern, code):
                    changed = code[: found.start()] + found.expand(new.strip()) + code[found.end() :]
                    edits = [(source, "".join([*lines[:number], changed + line[len(code) :], *lines[number + 1 :]]))]
                    text = f"{code.strip()} => {changed.strip()}"
                    mutant = Mutant(title, place, dict.fromkeys(files, edits), None, argued.get(text), text)
                    if int(mutant.key, 16) % SAMPLE == 0:
                        yield mutant


def killer(mutant, tree, answer):
    """The test that fails in the copy `tree` with the mutant, None if there is none."""
    for folder in ("algos", "common"):  # anew, as __pycache__ would be stale
        shutil.rmtree(tree / folder)
        shutil.copytree(ROOT / folder, tree / folder, ignore=WITHOUT)
    for file, edits in mutant.edits.items():
        text = TEXT[file]
        for edit in edits:
            text = text.replace(*edit)
        (tree / f"{file}.py").write_text(text)

    class Watch:  # leaves out tests of other algorithms, and LEFT_OUT; keeps the name of the one that fails
        def pytest_collection_modifyitems(self, items):
            others = {*ALGOS, *LEFT_OUT} - mutant.algos
            items[:] = [item for item in items if others.isdisjoint(re.split(r"\W", item.name))]

        def pytest_runtest_logreport(self, report):
            if report.failed:
                answer.write_text(report.nodeid)

    answer.write_text("it hangs or cannot be imported")
    if not (child := os.fork()):  # with LIBRARIES, but nothing of the copy
        signal.alarm(1200)
        os.chdir(tree)
        os.dup2(os.open(answer.with_name("output"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        sys.path[:] = [str(tree), *(path for path in sys.path if not path.startswith(str(ROOT)))]
        options = ["-x", "-q", "-n0", "-pno:cacheprovider", f"--rootdir={tree}", *mutant.tests]
        os._exit(sys.modules["pytest"].main(options, plugins=[Watch()]))
    return answer.read_text() if os.waitpid(child, 0)[1] else None


def page(tried, kept, more):
    yield f"# Mutation testing\n\n{__doc__}\nLeft to try: {more}.\n"
    yield "| class | mutants | killed | argued away | left |\n|---|--:|--:|--:|--:|"
    for title in [*dict.fromkeys(mutant.title for mutant in tried), "all"]:
        alive = [bool(mutant.reason) for mutant in tried if title in (mutant.title, "all") and not kept[mutant.key]]
        total = sum(title in (mutant.title, "all") for mutant in tried)
        yield f"| {title} | {total} | {total - len(alive)} | {sum(alive)} | {len(alive) - sum(alive)} |"
    yield "\n| what survives | why |\n|---|---|"
    yield from [f"| {m.place}: `{m.text}` | {m.reason or '**left**'} |" for m in tried if not kept[m.key]]


if __name__ == "__main__":
    kept, words = json.loads(KEPT.read_text()) if KEPT.exists() else {}, sys.argv[1:] or [""]
    found = [*{m.key: m for m in mutants() if any(w in f"{m.title} {m.place} {m.text}" for w in words)}.values()]
    todo = [m for m in found if m.key not in kept or not (kept[m.key] or m.reason)]
    [__import__(library) for library in LIBRARIES]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT, tree := Path(folder, "tree"), ignore=WITHOUT)
        for count, mutant in enumerate(todo, 1):
            kept[mutant.key] = killer(mutant, tree, Path(folder, "answer"))
            KEPT.write_text(json.dumps(kept, indent=0))
            if words == [""]:
                PAGE.write_text("\n".join([*page([m for m in found if m.key in kept], kept, len(todo) - count), ""]))
            print(f"{count}/{len(todo)} {mutant.place}: {kept[mutant.key] or 'SURVIVES: ' + mutant.text}", flush=True)

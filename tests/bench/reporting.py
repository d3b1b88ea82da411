"""Tables and sections of the documents that benchmarks write."""
import argparse
import pathlib
import os
import platform

import psutil


def processors():
    return len(os.sched_getaffinity(0))


def machine():
    return f"{processors()} processors, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory, {platform.system()} {platform.release()}"


def table(head, rows):
    """Lines of Markdown; every row has as many cells as the head."""
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"a row of {len(row)} cells under a head of {len(head)}: {row}")
    return [line(head), "| --- |" + " --- |" * (len(head) - 1), *(line(row) for row in rows)]


def line(cells):
    return f"| {' | '.join(cells)} |"


def seconds(value):
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.1f} ms"


def megabytes(nbytes):
    return f"{nbytes / 1e6:.0f} MB"


def counted(count, word):
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def publish(lines, document=None, name=None):
    """Prints them, and puts them into a document where one is given."""
    text = "\n".join(lines)
    print(text)
    if document:
        put_section(document, name, text)


def put_section(document, name, text):
    """Between the two marks of this name."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = document.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def parser(description, report="a document with a section for this benchmark"):
    """Options that say how large the checkpoint is, where it is made and what is written."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--layers", type=int, default=10)
    made.add_argument("--width", type=int, default=768)
    made.add_argument("--vocabulary", type=int, default=16000)
    made.add_argument("--repetitions", type=int, default=5)
    made.add_argument("--directory", default=os.environ.get("TMPDIR", "/var/tmp"), help="where the files are made")
    made.add_argument("--report", type=pathlib.Path, metavar="FILE", help=report)
    return made

#!/usr/bin/env python3
"""Writes cases.json: texts, each with what Python's hjson, called as DeepSpeed calls it, makes of it ("value"), or "refused".

    make_cases.py [FILE]      by default cases.json beside this script
"""
import collections
import io
import json
import pathlib
import random
import sys

import hjson

WRITTEN = [
    "", " \n", "# nothing\n", "{}", "{ }\n", "[]", "[1, 2,]", "{a: 1}", "{a: 1\n}", "a: 1", "a: 1,\nb: 2\n", "{\n  a: b\n  c: d\n}",
    '{"train_batch_size": 8, "zero_optimization": {"stage": 2, "sub_group_size": 1e9}}',
    "{\n  // one\n  stage: 2 # two\n  /* three\n four */ device: cpu\n  on: true // five\n}",
    '{"a": 1,}', '{"a": [1, 2, 3,],}', '{"a": 1,,}', "{,}", "[,]", "[1 2]", "[\n1\n2\n]", '{"a": 1 "b": 2}', '{"a": "1" "b": "2"}',
    "{a: cpu # no comment\n}", "{a: cpu, b: 2}", "{a: cpu}\n", "a: {b: 1}\nc: [d\n e\n]", "a\n:\n1", "a b: 1", "a : 1", "a  : 1", ": 1",
    '"": 1', "'a': 'b'", "a: 'it''s'", 'a: "it\'s"', "a: 'x\"y'", 'a: "\\n\\t\\"\\\\\\/\\b\\f\\r\\\'"', 'a: "\\q"', 'a: "\\u00e9\\u20ac\\ud83d\\ude00"',
    'a: "\\u12"', 'a: "\\u12g4"', 'a: "tab\there"', 'a: "line\nbreak"', 'a: "open', "a: é ü\n", "ключ: значение\n", "a:\u00a0b\u00a0\n", "a:\u00a0null\u00a0\n", "a: null\u00a0\n", "a\u00a0 : 1",
    "a:\n  '''\n  one\n    two\n  three\n  '''\n", "a: '''one'''\n", "  a: '''\n      x\n   y\n  '''", "a: '''never", "a: '''x''''\n", "a: ''''x'''\n", "a: '''\n'''\n",
    "a: ''\nb: 2\n", "{a: '''\n      x\n  y'''\n}\n", "a: 0", "a: -0", "a: 01", "a: -1", "a: +1", "a: .5", "a: 5.", "a: 0.0", "a: -0.0", "a: 1.5e3",
    "a: 1E+2", "a: 1e-3", "a: 1e9", "a: 1e10", "a: 12345678901.0", "a: 1e", "a: 1.5 \t\n", "a: 1 2", "a: 9223372036854775807",
    "a: -9223372036854775808", "a: 18446744073709551615", "a: 1e308", "a: 0x10", "a: true", "a: True", "a: true false", "a: false,", "a: null", "a: nullx",
    "a: true// yes\nb: false/* no */\n", "a: 1//2", "a: 1 /2", "a: x//y", "a: /", "a: //\n1", "a: #\n", "a:", "a: }", "a: ]", "a: ,", "{a: 1", "[1", "{", "[", "}",
    "]", "{a: 1}}", "{a: 1} # end", "{a: 1} x", "/* open", "/*/", "{a: 1, a: 2}", "a: {b: 1\nb: 1}", '{"a": {"b": 1}, "a": 2}', "a: 1\r\nb: x\r\n",
    "a: 1\rb: 2", "a: '''\r\n  x\r\n  '''\r\n", "{a#b: 1}", "a/b: 1", "{a: {}, b: []}", "{a: [{}, {}]}", "a: auto\nb: \"auto\"\n", "a: \x7f", "a: \x0bx\x0c\n",
    "{\"a\"\n:\n1}", "\ufeff{a: 1}", "\ufeffa: 1",
]
PIECES = ["{", "}", "[", "]", ":", ",", "'", '"', "'''", "\n", " ", "\t", "#", "//", "/*", "*/", "a", "b c", "1", "-", "0", ".5", "e3", "true", "null", "\\", "\\n", "é", "\r\n"]


def without_twins(pairs):
    """As DeepSpeed's dict_raise_error_on_duplicate_keys."""
    twins = [key for key, count in collections.Counter(key for key, _ in pairs).items() if count > 1]
    if twins:
        raise ValueError(twins)
    return dict(pairs)


def case(text):
    try:
        # DeepSpeed opens the file in text mode.
        value = hjson.load(io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"), object_pairs_hook=without_twins)
    except (ValueError, IndexError, OverflowError):
        return {"text": text, "refused": True}
    return {"text": text, "value": value}


def mutated(random_, text):
    for _ in range(random_.randint(1, 3)):
        at = random_.randint(0, len(text))
        end = min(len(text), at + random_.choice([0, 0, 1, 2]))
        text = text[:at] + random_.choice([*PIECES, ""]) + text[end:]
    return text


def can_differ(text, found):
    """Where ckptfs means to differ: a root that is one bare value, triple quotes in a file of one line, which hjson trips
    over, and halves of surrogate pairs."""
    if "value" in found and not isinstance(found["value"], (dict, list)):
        return True
    halves = any(0xd800 <= ord(character) < 0xe000 for character in json.dumps(found, ensure_ascii=False))
    return halves or ("'''" in text and not {"\r", "\n"} & set(text))


def main():
    file = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("cases.json")
    random_ = random.Random(17)
    texts = WRITTEN + [mutated(random_, random_.choice(WRITTEN)) for _ in range(1500)]
    found = [(text, case(text)) for text in dict.fromkeys(texts)]
    lines = [json.dumps(one, ensure_ascii=True) for text, one in found if not can_differ(text, one)]
    file.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="ascii")


if __name__ == "__main__":
    main()

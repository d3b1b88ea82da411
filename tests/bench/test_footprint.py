"""The footprint of a mount is measured, and README.md does not promise less than what comes out."""
import re

import footprint


def test_every_row_has_a_plausible_number():
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", footprint.table(), re.MULTILINE))
    numbers = {what: [float(number) for number in re.findall(r"[\d.]+", value)] for what, value in rows.items() if "---" not in what}
    assert len(numbers) == 6
    resident, own = numbers["resident memory of a mount of one tag, idle"]
    assert 0 < own <= resident < 100
    assert numbers["`verify` reads every byte"][0] < 1.05
    assert 1.9 < numbers["`verify --world-size=3` reads every byte"][0] < 2.1  # of the source once, and once of the view

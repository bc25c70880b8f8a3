import re
from pathlib import Path

from formation import resilience


def test_the_package_says_of_each_of_its_files_what_is_in_it():
    files = {file.stem for file in Path(resilience.__file__).parent.glob("*.py")} - {"__init__"}
    told = set(re.findall(r"``(\w+)``", resilience.__doc__)) - {"x", "shared_x"}
    assert told == files

"""The hash of a user's module in the identity of a run."""

import hashlib
import json
from pathlib import Path

from vt_ray.import_path import source_digests


def test_a_module_built_into_python_has_no_digest_and_other_modules_have_that_of_their_file():
    expected = hashlib.sha256(Path(json.__file__).read_bytes()).hexdigest()
    assert source_digests(["sys:exit", "json:loads", "mgpo"]) == {"json:loads": expected}

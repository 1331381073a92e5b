"""`vt-ray --version` is the project's own: Hydra would answer with its own."""

from __future__ import annotations

import vt_ray
from vt_ray import main


def test_the_version_is_ours(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["vt-ray", "--version"])
    main.main()
    assert capsys.readouterr().out == f"vt_ray {vt_ray.__version__}\n"

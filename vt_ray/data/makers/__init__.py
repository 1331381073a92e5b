"""Made problems with exact answers, each solved in three styles.

    make_problems("algebra", "train", 100, seed=0) --> [Problem, ...]

| style   | what it does                                                      |
|---------|-------------------------------------------------------------------|
| direct  | only the answer                                                   |
| steps   | one small operation per line                                      |
| checked | finer steps or another method, then a check, then the answer      |
"""

from vt_ray.data.makers.family import STYLES
from vt_ray.data.makers.selection import LEVELS, SPLITS, SUBDOMAINS, count_problems, make_problems, split_of

__all__ = ["LEVELS", "SPLITS", "STYLES", "SUBDOMAINS", "count_problems", "make_problems", "split_of"]

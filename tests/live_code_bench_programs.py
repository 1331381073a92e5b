"""Programs for 20 problems of LiveCodeBench v5, each with one change that makes it wrong.

An entry is (row in the file of the 279 problems, from 0; program; right part; wrong part in its place).
"""

STDIN_PROGRAMS = [
    (
        0,
        """
n = int(input())
a = list(map(int, input().split()))
print(a.index(sorted(a)[-2]) + 1)
""",
        "[-2]",
        "[-1]",
    ),
    (
        23,
        """
x = input().strip()
x = x.rstrip('0').rstrip('.')
print(x or 0)
""",
        "print(x or 0)",
        "print(x[:-1] or 0)",
    ),
    (
        28,
        """
n = int(input())
a = sorted(map(int, input().split()))
steps = 0
while a[-2] > 0:
    a[-1] -= 1
    a[-2] -= 1
    a.sort()
    steps += 1
print(steps)
""",
        "    a.sort()\n",
        "",
    ),
    (
        58,
        """
print(input().replace('.', ''))
""",
        "'.', ''",
        "'.', '', 1",
    ),
    (
        63,
        """
import sys
def main():
    data = sys.stdin.read().split()
    n = int(data[0])
    a = map(int, data[1:n + 1])
    b = map(int, data[n + 1:])
    print(max(a) + max(b))

if __name__ == '__main__':
    main()
""",
        "max(a) +",
        "min(a) +",
    ),
    (
        117,
        """
print('Yes' if input().endswith('san') else 'No')
""",
        "endswith('san')",
        "startswith('san')",
    ),
    (
        122,
        """
n, s = int(input()), input()
print(sum(s[i:i + 3] == '#.#' for i in range(n)))
""",
        "range(n)",
        "range(n - 3)",
    ),
    (
        123,
        """
from collections import Counter
s = input()
right, left, total = Counter(s), Counter(), 0
for c in s:
    right[c] -= 1
    total += sum(left[x] * right[x] for x in 'ABCDEFGHIJKLMNOPQRSTUVWXYZ')
    left[c] += 1
print(total)
""",
        "    right[c] -= 1\n",
        "",
    ),
    (
        135,
        """
print('Yes' if sorted(input().strip()) == list('ABC') else 'No')
""",
        "sorted(input().strip())",
        "list(input())",
    ),
    (
        148,
        """
n = int(input())
total, place = 0, 0
s = input()
for i in range(n - 1, -1, -1):
    place = place * 10 + 1
    total += int(s[i]) * (i + 1) * place
print(total)
""",
        "(i + 1)",
        "i",
    ),
    (
        176,
        """
n = int(input())
top = isqrt(n)
sieve = bytearray([1]) * (top + 1)
primes = []
for p in range(2, top + 1):
    if sieve[p]:
        primes.append(p)
        sieve[p * p::p] = bytes(len(range(p * p, top + 1, p)))
count = sum(p ** 8 <= n for p in primes)
for i, p in enumerate(primes):
    if p * p > top:
        break
    count += max(0, bisect_right(primes, top // p) - i - 1)
print(count)
""",
        "p ** 8",
        "p ** 4",
    ),
    (
        180,
        """
n, a, b = input().split()
print(''.join(c if c == a else b for c in input()))
""",
        "c == a",
        "c != a",
    ),
    (
        185,
        """
a, b, c = sorted(map(int, stdin.readline().split()))
print('Yes' if a + b == c or a == b == c else 'No')
""",
        " or a == b == c",
        "",
    ),
]

FUNCTION_PROGRAMS = [
    (
        106,
        """
class Solution:
    def maxGoodNumber(self, nums: List[int]) -> int:
        return max(int(''.join(bin(x)[2:] for x in order), 2) for order in permutations(nums))
""",
        "permutations(nums)",
        "[nums]",
    ),
    (
        108,
        """
class Solution:
    def minElement(self, nums: List[int]) -> int:
        return min(sum(map(int, str(x))) for x in nums)
""",
        "min(",
        "max(",
    ),
    (
        220,
        """
class Solution:
    def numberOfSubstrings(self, s: str, k: int) -> int:
        count, left, total = Counter(), 0, 0
        for c in s:
            count[c] += 1
            while count[c] >= k:
                count[s[left]] -= 1
                left += 1
            total += left
        return total
""",
        ">= k",
        "> k",
    ),
    (
        226,
        """
class Solution:
    def isBalanced(self, num: str) -> bool:
        return sum(map(int, num[::2])) == sum(map(int, num[1::2]))
""",
        "num[1::2]",
        "num[1:2]",
    ),
    (
        245,
        """
class Solution:
    def canAliceWin(self, n: int) -> bool:
        take, turn = 10, 0
        while n >= take:
            n, take, turn = n - take, take - 1, turn + 1
        return turn % 2 == 1
""",
        "== 1",
        "== 0",
    ),
    (
        249,
        """
class Solution:
    def smallestNumber(self, n: int) -> int:
        return (1 << n.bit_length()) - 1
""",
        "n.bit_length()",
        "(n.bit_length() - 1)",
    ),
    (
        268,
        """
class Solution:
    def countSubarrays(self, nums: List[int]) -> int:
        return sum(2 * (a + c) == b for a, b, c in zip(nums, nums[1:], nums[2:]))
""",
        "2 * (a + c) == b",
        "a + c == 2 * b",
    ),
]

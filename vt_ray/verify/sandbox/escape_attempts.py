"""A program that tries to escape from the sandbox, before any completion runs. Successful attempts are reported."""

from __future__ import annotations

from vt_ray.verify.sandbox.broker_client import BrokerClient, BrokerLost

# Each attempt must fail. No attempt harms a machine on which it succeeds.
_ATTEMPTS = r"""
import ctypes, os, resource, socket, threading
libc = ctypes.CDLL(None, use_errno=True)

def tried(what, attempt):
    try:
        attempt()
    except (OSError, ValueError, MemoryError):
        return
    print("through:", what)

def call(function, *arguments):
    if function(*arguments) < 0:
        raise OSError

def fork():
    if os.fork() == 0:
        os._exit(0)
    os.wait()

def write(folder):
    path = folder + "/vt_ray_canary"
    open(path, "w").close()
    os.unlink(path)

def raise_limit(limit):
    resource.setrlimit(limit, (resource.RLIM_INFINITY,) * 2)

def see_other_processes():
    if [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()] == []:
        raise OSError

tried("the network", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
tried("sockets of other processes", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
tried("new processes", fork)
tried("host files", lambda: open("/etc/passwd").read())
for folder in ("/root", "/home", "/etc", "/var", "/run", "/sys"):
    tried("the folder " + folder, lambda: os.listdir(folder))
for folder in ("/", "/etc", "/var/tmp", "/dev/shm", "/dev", os.path.dirname(os.__file__)):
    tried("writing into " + folder, lambda: write(folder))
tried("other processes", see_other_processes)
for pid in {0, -1, 1, 2, os.getppid()} - {os.getpid()}:
    tried("signals to process %d" % pid, lambda: os.kill(pid, 0))
tried("shared memory", lambda: call(libc.shmget, 0, 4096, 0o1600))
tried("memory without a limit", lambda: os.memfd_create("canary"))
tried("a user namespace", lambda: call(libc.unshare, 0x10000000))
tried("tracing", lambda: call(libc.ptrace, 0x4206, os.getppid() or 1, 0, 0))
tried("mounts", lambda: call(libc.mount, b"none", b"/", b"tmpfs", 0, None))
tried("rights of root", lambda: os.setuid(0))
tried("a higher memory limit", lambda: raise_limit(resource.RLIMIT_AS))
tried("the memory limit", lambda: bytearray(resource.getrlimit(resource.RLIMIT_AS)[0]))
for name in set(os.environ) - {"HOME", "TMPDIR"}:
    print("through: the variable " + name)
if os.getuid() == 0:
    print("through: user 0")

worker = threading.Thread(target=print, args=("threads work",))
worker.start()
worker.join()
open("/dev/urandom", "rb").read(1)
print("done")
"""
_TIMEOUT_S = 10.0
_SPIN_S = 0.2


def successful_escapes(client: BrokerClient) -> list[str]:
    """Returns the attempts that succeed in the client's sandbox and features that do not work; [] if all is well."""
    try:
        outcome = client.run({"type": "stdio", "program": _ATTEMPTS, "input": ""}, _TIMEOUT_S)
        spin = client.run({"type": "stdio", "program": "while True: pass", "input": ""}, _SPIN_S)
    except BrokerLost as error:
        return [str(error)]
    lines = outcome.stdout.decode("utf-8", "replace").splitlines()
    found = [line.removeprefix("through: ") for line in lines if line.startswith("through: ")]
    if lines[-1:] != ["done"] or "threads work" not in lines:
        last = (outcome.stderr.strip().splitlines() or [outcome.stopped or f"exit code {outcome.exit_code}"])[-1]
        found.append(f"ordinary programs fail ({last})")
    if spin.stopped != "timeout":
        found.append("programs that do not end")
    return found

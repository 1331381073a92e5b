#!/usr/bin/env bash
# One Ray on this machine for as long as a command runs. The members of a sweep share it:
#
#   launch/local.sh vt-ray -m experiment=sweep cluster.ray_address=auto
#
# It has a token and a folder of its own, so it stands beside any other Ray here, and leaves nothing behind.
set -euo pipefail
RAY_AUTH_TOKEN=$(python3 -c "import secrets; print(secrets.token_hex(32))")
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# Ray gives its workers a low priority unless told not to, and waits 30 s for services to drain when it is stopped.
export RAY_worker_niceness=0 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 RAY_USAGE_STATS_ENABLED=0

free_ports() {
    python3 -c "import socket
sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in sockets))"
}
read -r port agent client metrics < <(free_ports)
# Ray's sockets lie in its folder, and a socket's path has at most 107 bytes.
folder=$(mktemp -d /tmp/vt_ray.XXXXXX)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$folder"' EXIT
ray start --head --block --temp-dir="$folder" --node-ip-address=127.0.0.1 --port="$port" --include-dashboard=false \
    --dashboard-agent-listen-port="$agent" --ray-client-server-port="$client" --metrics-export-port="$metrics" \
    >"$folder/start.log" 2>&1 &
until ray health-check --address "127.0.0.1:$port" 2>/dev/null; do
    if ((SECONDS > 120)) || [[ -z $(jobs -rp) ]]; then
        cat "$folder/start.log" >&2
        echo "error: no Ray on this machine after $SECONDS s: see what it says above" >&2
        exit 1
    fi
    sleep 1
done
export RAY_ADDRESS=127.0.0.1:$port
"$@"

#!/usr/bin/env bash
# Start one Ray on this machine, run a command, stop Ray. The members of a sweep share this Ray:
#
#   launch/local.sh vt-ray -m experiment=sweep cluster.ray_address=auto
#
# This Ray has its own token, ports and folder: it does not disturb another Ray on the machine, and leaves no files.
# METRICS_PORT=8080 gives the port at which Prometheus reads the figures (docs/monitoring.md), outside 10002 to
# 19999; without it, any free port.
set -euo pipefail
RAY_AUTH_TOKEN=$(python3 -c "import secrets; print(secrets.token_hex(32))")
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# Defaults of Ray: workers have a low priority, and a stopped Ray waits 30 s for its services to drain.
export RAY_worker_niceness=0 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 RAY_USAGE_STATS_ENABLED=0

free_ports() {
    python3 -c "import socket
sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in sockets))"
}
read -r port agent client metrics < <(free_ports)
# Ray puts sockets into its folder, and the path of a socket has at most 107 bytes.
folder=$(mktemp -d /tmp/vt_ray.XXXXXX)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$folder"' EXIT
ray start --head --block --temp-dir="$folder" --node-ip-address=127.0.0.1 --port="$port" --include-dashboard=false \
    --dashboard-agent-listen-port="$agent" --ray-client-server-port="$client" --metrics-export-port="${METRICS_PORT:-$metrics}" \
    >"$folder/start.log" 2>&1 &
until ray health-check --address "127.0.0.1:$port" 2>/dev/null; do
    if ((SECONDS > 120)) || [[ -z $(jobs -rp) ]]; then
        cat "$folder/start.log" >&2
        echo "error: no Ray on this machine after $SECONDS s: its log is above" >&2
        exit 1
    fi
    sleep 1
done
export RAY_ADDRESS=127.0.0.1:$port
"$@"

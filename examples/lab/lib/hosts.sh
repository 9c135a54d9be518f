# shellcheck shell=bash
# What runs in the hosts: hactl, etcd, the agents.

put_hactl() {
    local host
    for host in $HOSTS; do
        tar -C "$TREE" --exclude=__pycache__ -cf - reconciler resources |
            on_host "$host" sh -c 'set -e; rm -rf /opt/hactl/new; mkdir -p /opt/hactl/new /opt/hactl/lib; tar -C /opt/hactl/new -xf -
                chown -R root:root /opt/hactl/new; rm -rf /opt/hactl/old; mv /opt/hactl/lib /opt/hactl/old; mv /opt/hactl/new /opt/hactl/lib
                python3 -m compileall -q /opt/hactl/lib' || return 1
    done
    for host in $PAIR; do
        copy "$TREE/examples/systemd/hactl-agent.service" "$host:/etc/systemd/system/hactl-agent.service" || return 1
    done
}

wait_for_etcd() {
    wait_until 240 "etcd is healthy" all_healthy && return 0
    local host
    echo "lab: load $(cut -d' ' -f1-3 /proc/loadavg)" >&2
    for host in $HOSTS; do
        echo "--- $host: etcd's journal" >&2
        on_host "$host" sh -c 'journalctl -q -o cat -u etcd -n 15; cut -d" " -f1-3 /proc/loadavg' >&2 </dev/null || :
    done
    return 1
}

all_healthy() {
    local host
    for host in $HOSTS; do
        on_host "$host" env ETCDCTL_API=3 etcdctl --dial-timeout=3s --command-timeout=5s endpoint health </dev/null || return 1
    done
}

start_agents() {
    local host
    for host in $PAIR; do
        on_host "$host" sh -c 'systemctl daemon-reload && systemctl enable -q hactl-agent && systemctl start hactl-agent' </dev/null || {
            on_host "$host" journalctl -q -o cat -u hactl-agent -n 15 >&2 </dev/null
            return 1
        }
    done
}

install_hactl() {
    put_hactl || fail "hactl could not be copied"
    local host
    for host in $PAIR; do
        on_host "$host" sh -c 'systemctl daemon-reload && systemctl enable -q hactl-agent && systemctl restart hactl-agent' </dev/null ||
            fail "the agent on $host does not start: examples/lab/lab exec $host journalctl -u hactl-agent"
    done
}

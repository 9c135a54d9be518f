# shellcheck shell=bash
# What runs in the hosts: etcd, hactl, the agents.

wait_for_etcd() {
    # shellcheck disable=SC2086
    each etcd_of $HOSTS
}

etcd_of() { wait_until 240 "etcd on $1 is healthy" etcd_healthy "$1"; }

etcd_healthy() {
    on_host "$1" env ETCDCTL_API=3 etcdctl --dial-timeout=5s --command-timeout=10s endpoint health </dev/null
}

# The tree's code, but for the simulation, as one archive, compiled for the hosts' Python; in each host a folder named after its contents,
# and a link that is changed in one instant: fence-peer may be called at any moment.
put_hactl() {
    local stage=$RUN/stage host on=""
    rm -rf "$stage" && mkdir -p "$stage" || return 1
    tar -C "$TREE" --exclude=__pycache__ --exclude=reconciler/sim --owner=0 --group=0 --mode=go-w -cf - reconciler resources | tar -C "$stage" -xf - || return 1
    CODE=$(cd "$stage" && find . -type f | sort | xargs sha256sum | sha256sum | cut -c 1-16)
    "$PYTHON" -m compileall -q --invalidation-mode unchecked-hash -s "$stage" -p /opt/hactl/lib "$stage" ||
        complain "the tree's code has errors: see above"
    tar -C "$stage" -czf "$RUN/code.tar.gz" reconciler resources || return 1
    for host in $HOSTS; do if [[ $(power_of "$host") == on ]]; then on+=" $host"; else say "$host is off or frozen: hactl is not copied there"; fi; done
    # shellcheck disable=SC2086
    each put_on $on
}

put_on() {
    on_host "$1" /usr/local/lib/lab/install-code "$CODE" <"$RUN/code.tar.gz" || { complain "hactl could not be copied to $1"; return 1; }
    [[ $1 != witness ]] || return 0
    put_secrets "$1" || { complain "the hosts' secrets could not be copied to $1"; return 1; }
    if [[ ! -e $AGENT_UNIT ]]; then
        complain "there is no $AGENT_UNIT: $1 has no agent"
        return 1
    fi
    # shellcheck disable=SC2016
    on_host "$1" sh -c 'unit=/etc/systemd/system/hactl-agent.service; cat >$unit.new; cmp -s $unit.new $unit && exit
        mv $unit.new $unit && systemctl daemon-reload && systemctl enable -q hactl-agent && sync -f /etc' <"$AGENT_UNIT"
}

AGENT_UNIT=$TREE/examples/systemd/hactl-agent.service

start_agents() {
    # shellcheck disable=SC2086
    each start_agent $PAIR
}

start_agent() {
    [[ $(power_of "$1") == on ]] || return 0
    on_host "$1" systemctl start hactl-agent 2>/dev/null && return 0
    on_host "$1" journalctl -q -o cat -u hactl-agent -n 12 >&2 || :
    complain "the agent on $1 does not start: examples/lab/lab exec $1 journalctl -u hactl-agent"
    return 1
}

install_hactl() {
    is_there || fail "the lab is down: examples/lab/lab up"
    put_hactl || fail "hactl could not be installed"
    start_agents || fail "hactl is installed, but not every agent starts"
}

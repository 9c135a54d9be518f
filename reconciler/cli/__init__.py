"""hactl, the command line. The only place that wires the real store and the real machine to the loop.

    main.py       the commands' list; the one place where an error becomes a sentence and an exit code
    options.py    arguments and options that several commands share
    errors.py     Refused and the exit codes (docs/exit-codes.md)
    config.py     /etc/hactl/hactl.toml
    desk.py       the store, and who changes things from where; every write is one transaction with its audit record
    hosts.py      pure but for a ping: what is known of hosts
    leaving.py    pure: which services leave a host, in what order, where to
    loss.py       pure: --accept-data-loss
    topics.py     hactl help TOPIC
    members.py    etcd's members over HTTP: health, clocks, who they are
    local.py      the agent's own answer, where etcd is out of reach
    metrics.py    the agent's metrics over HTTP, on loopback
    scene.py      all that etcd says now, kept up to date by a watch
    health.py     pure: what a service is like as a whole, from what its hosts say
    screen.py     pure: tables, ages, colours
    manifests.py  pure: YAML -> manifests, with errors that name file, line and field
    merge.py      pure: three-way merge, differences in words
    watching.py   a move, shown live
    apply, get, set_, status, plan, history, delete, dead, pause, drain, doctor, agent, fence_peer   commands

What only some commands need (etcd, libvirt, watchfiles) is imported by the function that needs it: starting is fast.
"""

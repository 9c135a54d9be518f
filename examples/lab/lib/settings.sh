# shellcheck shell=bash disable=SC2034
# Names, places and addresses. Addresses are of the documentation ranges and live only in the lab's own namespace.
BEGAN=$(date +%s)
TREE=$(cd "$HERE/../.." && pwd)
CACHE=/var/cache/hactl-lab   # the built image: survives `down`
RUN=/run/hactl-lab           # all else, on a tmpfs of its own: no guest's fsync waits for this machine's disk
NETNS=hactl-lab
HOSTS="hosta hostb witness"
PAIR="hosta hostb"
DISKS=8                      # data disks of each of the pair, /dev/ubdb …
DISK_SIZE=512M
PYTHON=/usr/bin/python3      # Debian's own: the same version as in the hosts
SITE=${HACTL_LAB_SITE:-}     # set: the daemons of a whole site in the image, and room for their containers

number_of() { case $1 in hosta) echo 1 ;; hostb) echo 2 ;; witness) echo 3 ;; esac; }
memory_of() { case $1 in witness) echo 1024M ;; *) if [[ $SITE ]]; then echo 3072M; else echo 1792M; fi ;; esac; }
address_of() { echo "192.0.2.$(number_of "$1")"; }
replication_of() { echo "198.51.100.$(number_of "$1")"; }

known_host() {
    [[ " $HOSTS " == *" $1 "* ]] || { echo "lab: there is no host $1; there are: $HOSTS" >&2; exit 2; }
}

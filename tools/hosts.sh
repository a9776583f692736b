#!/bin/sh
# Several hosts on one machine: network namespaces, each with its own name and address, at a switch whose links can be slow.
#
#   tools/hosts.sh up N [RATE [DELAY]]       N hosts; RATE of each link in both directions, such as 20mbit, DELAY of sent packets, such as 10ms
#   tools/hosts.sh shape RATE|none [DELAY]   another rate
#   tools/hosts.sh mpirun -np P PROGRAM ...  P ranks, in blocks: the first ones on host 0
#   tools/hosts.sh exec HOST PROGRAM ...     on host 0 to N-1
#   tools/hosts.sh link HOST                 traffic of its link: bytes and packets sent, bytes and packets received
#   tools/hosts.sh down
#
# MPIRUN is the launcher, with its options, of MPICH or Open MPI; "mpirun" if unset. LTE_HOSTS names the set of hosts, "lte" if
# unset; sets of different names are independent. Needs root. Exit status 77: this machine does not permit network namespaces.
#
# Ranks of one host share memory; those of two hosts talk TCP over the links, and so does the launcher, which runs on host 0. All
# share this machine's cores, which lte detects by the kernel's boot id; LTE_BOOT=own gives every host its own.
set -eu

set=${LTE_HOSTS:-lte}
switch=$set-switch
net=10.77.0 # host i is $net.(i+1)

fail() {
	echo "hosts.sh: $1" >&2
	exit "${2:-1}"
}

impossible() { fail "no hosts on this machine: $1" 77; }

exists() { [ -e "/run/netns/$1" ]; }

# count is the number of hosts that are up.
count() {
	n=0
	while exists "$set$n"; do n=$((n + 1)); done
	[ $n -gt 0 ] || fail "$set is not up"
	echo $n
}

up() {
	n=$1
	[ "$n" -ge 1 ] && [ "$n" -le 250 ] || fail "1 to 250 hosts, not $n"
	! exists "$switch" || fail "$set is up: take it down, or name another set in LTE_HOSTS"
	command -v ip >/dev/null || impossible "there is no ip command (Debian: iproute2)"
	[ "$(id -u)" = 0 ] || impossible "network namespaces need root"
	ip netns add "$switch" || impossible "a network namespace cannot be made"
	trap down EXIT
	ip -n "$switch" link add switch type bridge || impossible "a bridge cannot be made"
	ip -n "$switch" link set switch up
	i=0
	while [ $i -lt "$n" ]; do
		ip netns add "$set$i"
		ip link add eth0 netns "$set$i" type veth peer name "host$i" netns "$switch" || impossible "a veth pair cannot be made"
		ip -n "$switch" link set "host$i" master switch up
		ip -n "$set$i" address add "$net.$((i + 1))/24" dev eth0
		ip -n "$set$i" link set lo up
		ip -n "$set$i" link set eth0 up
		link_up "$set$i" eth0
		link_up "$switch" "host$i"
		mkdir -p /run/netns-boot-id
		cat /proc/sys/kernel/random/uuid >"/run/netns-boot-id/$set$i"
		i=$((i + 1))
	done
	[ $# -lt 2 ] || shape "$2" "${3:-}"
	trap - EXIT
}

# One core processes all packets of an interface: a sender that moves to another core would reorder packets, and TCP would retransmit packets
# that were not lost. Interfaces segment TCP's data themselves: segments are kept small enough not to be split by the shaping queue, at a CPU
# cost that no machine with a network card has.
link_up() { # namespace, interface
	ip netns exec "$1" sh -c "echo 1 >/sys/class/net/$2/queues/rx-0/rps_cpus"
	ip -n "$1" link set "$2" gso_max_size 16384 gro_max_size 16384
}

shape() {
	n=$(count)
	i=0
	while [ $i -lt "$n" ]; do
		shape_one "$set$i" eth0 "$1" "${2:-}" # what the host sends
		shape_one "$switch" "host$i" "$1" ""  # what it receives
		i=$((i + 1))
	done
}

shape_one() { # namespace, interface, rate, delay
	tc -n "$1" qdisc del dev "$2" root 2>/dev/null || : # there may be none
	# At most a quarter of a millisecond, or two packets, at once: a message is not to find the link faster than it is.
	case $3 in
	none) return ;;
	*gbit) burst=$((${3%gbit} * 31250)) ;;
	*mbit) burst=$((${3%mbit} * 31)) ;;
	*) fail "a rate is none, or a whole number of mbit or gbit, not $3" ;;
	esac
	[ $burst -ge 3028 ] || burst=3028
	tc -n "$1" qdisc add dev "$2" root handle 1: tbf rate "$3" burst $burst latency 50ms
	[ -z "$4" ] || tc -n "$1" qdisc add dev "$2" parent 1:1 netem delay "$4" limit 100000 ||
		fail "this kernel cannot delay packets: it lacks sch_netem"
}

enter() { # host, program
	exists "$set$1" || fail "$set has no host $1"
	name=$set$1
	shift
	# Without an IPC namespace of its own UCX would find that hosts share memory.
	# shellcheck disable=SC2016
	exec ip netns exec "$name" unshare --uts --ipc sh -c 'echo "$0" >/proc/sys/kernel/hostname &&
		{ [ "${LTE_BOOT:-}" != own ] || mount --bind "/run/netns-boot-id/$0" /proc/sys/kernel/random/boot_id; } &&
		exec "$@"' "$name" "$@"
}

launch() { # -np P PROGRAM ...
	[ $# -gt 2 ] && [ "$1" = -np ] || fail "mpirun takes -np P PROGRAM ..."
	n=$(count)
	slots=$((($2 + n - 1) / n))
	at=
	i=1
	while [ $i -le "$n" ]; do
		at=$at${at:+,}$net.$i:$slots
		i=$((i + 1))
	done
	self=$(readlink -f "$0")
	export LTE_HOSTS="$set" UCX_TLS=tcp,sm,self UCX_NET_DEVICES=eth0
	mpirun=${MPIRUN:-mpirun}
	# shellcheck disable=SC2086
	case $($mpirun --version 2>&1) in
	*open-mpi.org*) # by its own name, mpirun.openmpi, it calls itself OpenRTE
		export PMIX_MCA_psec=native # where a munged has left its socket behind, every host would ask there for seconds
		enter 0 $mpirun --mca plm_rsh_agent "$self" --mca oob_tcp_if_include eth0 --mca pml ob1 --mca btl vader,tcp,self \
			--mca btl_tcp_if_include eth0 --host "$at" "$@"
		;;
	*) enter 0 $mpirun -launcher ssh -launcher-exec "$self" -iface eth0 -hosts "$at" "$@" ;;
	esac
}

link() {
	for counter in tx_bytes tx_packets rx_bytes rx_packets; do
		ip netns exec "$set$1" cat "/sys/class/net/eth0/statistics/$counter"
	done | paste -sd ' '
}

down() {
	n=0
	while exists "$set$n"; do
		ip netns delete "$set$n"
		rm -f "/run/netns-boot-id/$set$n"
		n=$((n + 1))
	done
	! exists "$switch" || ip netns delete "$switch"
}

usage() {
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

case $#,${1:-} in
[234],up | [23],shape | 2,link | 1,down) "$@" ;;
*,exec)
	[ $# -gt 2 ] || usage
	shift
	enter "$@"
	;;
*,mpirun)
	shift
	launch "$@"
	;;
*,-* | *,"$net".*) # a launcher takes this script for ssh: options, address, command
	while [ "${1#-}" != "$1" ]; do shift; done
	host=$((${1##*.} - 1))
	shift
	enter "$host" sh -c "$*"
	;;
*) usage ;;
esac

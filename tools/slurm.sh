#!/bin/bash
# A private SLURM on this machine: one controller and two nodes, n1 and n2, on loopback, for the tests of jobs/.
#
#     tools/slurm.sh DIR COMMAND...    # starts it, runs the command with SLURM_CONF set, ends it; state and logs in DIR
#
# Needs Debian's slurm-wlm and munge, and root. All its processes end with the command.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
shift
cores=$((2 * $(env -u OMP_NUM_THREADS nproc))) # of a node: several jobs run side by side
port=$((20000 + $$ % 10000))

mkdir -p "$dir"/{state,spool-n1,spool-n2}
# An earlier munged may have left its socket.
munged=
munge -n >/dev/null 2>&1 || {
  mkdir -p /run/munge /var/log/munge /var/lib/munge
  chown munge: /run/munge /var/log/munge /var/lib/munge /etc/munge/munge.key
  runuser -u munge -- /usr/sbin/munged --force
  munged=/run/munge/munged.pid
  munge -n >/dev/null || { echo "tools/slurm.sh: munged does not answer: see /var/log/munge/munged.log" >&2; exit 1; }
}
cat >"$dir/slurm.conf" <<END
ClusterName=lte
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=1,sched_interval=1,bf_interval=1,requeue_delay=1
ReturnToService=2
KillOnBadExit=1
KillWait=5
MinJobAge=3600
SlurmdTimeout=10
NodeName=n1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$cores RealMemory=4000
NodeName=n2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=$cores RealMemory=4000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$dir/slurm.conf
end() {
  timeout 5 scancel --full --user=root 2>/dev/null || true
  for _ in $(seq 100); do [ -z "$(timeout 5 squeue -h 2>/dev/null)" ] && break; sleep 0.1; done
  local file pids=()
  for file in "$dir"/*.pid $munged; do pids+=("$(cat "$file")"); done
  kill "${pids[@]}" 2>/dev/null || true
  for _ in $(seq 200); do kill -0 "${pids[@]}" 2>/dev/null || break; sleep 0.1; done # they write their state
}
trap end EXIT
slurmctld -c
slurmd -N n1
slurmd -N n2
up() { [ "$(timeout 5 sinfo -h -o %D%t 2>&1)" = 2idle ]; }
until up || [ $SECONDS -gt 60 ]; do sleep 0.1; done
up || { echo "tools/slurm.sh: the nodes did not come up in a minute:" >&2; timeout 5 sinfo >&2; tail -5 "$dir"/*.log >&2; exit 1; }
"$@"

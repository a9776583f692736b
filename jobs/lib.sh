# shellcheck shell=bash
# Functions of all sweeps. A sweep's script sets SWEEP, its name, sources this file, defines `tasks`, which prints its tasks with
# `task` or `compared`, and ends with `sweep "$@"`. docs/sweeps.md describes the use. Variables, with their defaults:
#
#   PROFILE         smoke (minutes on two cores, embedded digits), cifar (hours, CIFAR-10), paper (the paper's sizes); smoke
#   DATA            image set, as data.path; not needed by smoke
#   OUT             folder of runs, logs and report; runs/SWEEP-PROFILE
#   METHODS, SEEDS  methods and seeds to compare; "full lte" and "1"
#   SCALES          model sizes: presets, or WIDTHxDEPTH/PATCH; the sweep's
#   SET             more keys for every task: "section.key=value …"
#   NODES           nodes of a task; 1
#   RANKS_PER_NODE  2 (smoke, cifar), 32 (paper)
#   THREADS         compute threads of a rank, cores in SLURM; 1
#   HEADS           N, a multiple of the ranks; one per rank, 32 in paper
#   BATCH           images per step, over all ranks and heads
#   LR_FULL, LR_HEADS  peak learning rates of methods that train all weights, and heads
#   LTE             the program; lte next to jobs/, or in PATH
#   MPI_LAUNCH      pmi2, pmix or mpirun; detected
#   PARTITION, ACCOUNT, TIME_LIMIT, SBATCH_OPTIONS  options of a task's job; the cluster's, the cluster's, 12:00:00, none
#   WARN            seconds before the time limit at which a task writes a checkpoint and is requeued; 300
#   RETRIES         how often a task is requeued after a rank or a node was killed; 3
#   TASKS_AT_ONCE   tasks of the array that run at the same time; all
#   DRY_RUN         1: print every command and do nothing
set -euo pipefail

LTE_JOBS=$(cd "$LTE_JOBS" && pwd)
: "${PROFILE:=smoke}" "${DATA:=}" "${SCALES:=}" "${SET:=}" "${METHODS:=full lte}" "${SEEDS:=1}" "${NODES:=1}" "${THREADS:=1}" "${DRY_RUN:=}"
: "${PARTITION:=}" "${ACCOUNT:=}" "${TIME_LIMIT:=12:00:00}" "${SBATCH_OPTIONS:=}" "${WARN:=300}" "${RETRIES:=3}" "${TASKS_AT_ONCE:=}" "${MPI_LAUNCH:=auto}"
: "${OUT:=$PWD/runs/$SWEEP-$PROFILE}"

case $PROFILE in
smoke) : "${RANKS_PER_NODE:=2}" "${BATCH:=32}" "${LR_FULL:=1e-3}" "${LR_HEADS:=1e-3}" ;;
cifar) : "${RANKS_PER_NODE:=2}" "${BATCH:=128}" "${LR_FULL:=1e-3}" "${LR_HEADS:=3e-4}" ;;
paper) : "${RANKS_PER_NODE:=32}" "${HEADS:=32}" "${BATCH:=1024}" "${LR_FULL:=1e-3}" "${LR_HEADS:=2e-4}" ;;
*) echo "$SWEEP: PROFILE must be smoke, cifar or paper, not $PROFILE" >&2; exit 2 ;;
esac
RANKS=$((NODES * RANKS_PER_NODE))
: "${HEADS:=$RANKS}"
if [ -z "${LTE:-}" ]; then
  LTE=$(dirname "$LTE_JOBS")/lte
  [ -x "$LTE" ] || LTE=$(command -v lte) || { echo "$SWEEP: no lte next to $LTE_JOBS and none in PATH: build it (make build), or set LTE" >&2; exit 2; }
fi
[[ $OUT == /* ]] || OUT=$PWD/$OUT
export LTE_JOBS PROFILE DATA OUT METHODS SEEDS NODES RANKS_PER_NODE THREADS HEADS BATCH LR_FULL LR_HEADS LTE MPI_LAUNCH \
  PARTITION ACCOUNT TIME_LIMIT SBATCH_OPTIONS WARN RETRIES TASKS_AT_ONCE SCALES SET DRY_RUN

[ "$PROFILE" = smoke ] || [ -n "$DATA" ] || { echo "$SWEEP: PROFILE=$PROFILE requires DATA=PATH, an image set (docs/sweeps.md)" >&2; exit 2; }
if [ $((HEADS % RANKS)) != 0 ] || [ $((BATCH % HEADS)) != 0 ]; then
  echo "$SWEEP: HEADS=$HEADS must be a multiple of $RANKS ranks, and BATCH=$BATCH a multiple of HEADS" >&2
  exit 2
fi

# task NAME KEY=VALUE...: prints a task: the name of its run directory in OUT, and the keys that it sets.
task() { (IFS=$'\t'; echo "$*"); }

# compared NAME KEY=VALUE...: prints a task for every method and seed, each with BATCH images per step.
compared() {
  local name=$1 method seed batch rate
  shift
  for method in $METHODS; do
    batch=$((BATCH / RANKS)) rate=$LR_HEADS
    case $method in
    lte) batch=$((BATCH / HEADS)) ;;
    full | localsgd | diloco) rate=$LR_FULL ;;
    esac
    for seed in $SEEDS; do
      task "$name-$method-$seed" "method=$method" "seed=$seed" "train.batch=$batch" "optimizer.lr=$rate" \
        "lora.heads=$(case $method in lte | mhlora) echo "$HEADS" ;; *) echo 0 ;; esac)" "$@"
    done
  done
}

# scale KIND SCALE: sets `model` to the keys of a preset such as vit-s/32, or of WIDTHxDEPTH/PATCH.
scale() {
  model=("model.preset=$2")
  [[ $2 =~ ^[0-9]+x[0-9]+/[0-9]+$ ]] || return 0
  local width=${2%%x*} rest=${2#*x}
  # shellcheck disable=SC2034 # read by the sweeps' scripts
  model=("model.kind=$1" "model.width=$width" "model.depth=${rest%/*}" "model.patch=${rest#*/}" "model.mlp=$((4 * width))"
    "model.token_mlp=$(((width + 1) / 2))" "model.heads=$(((width + 63) / 64))")
}

# named SCALE: prints the scale as part of a file name.
named() { echo "${1//\//-}"; }

# scaled KIND: prints the tasks of `compared` for every scale in SCALES.
scaled() {
  local scale
  for scale in $SCALES; do
    scale "$1" "$scale"
    compared "$(named "$scale")" "${model[@]}"
  done
}

# do_ COMMAND...: runs it, or prints it if DRY_RUN is set.
do_() {
  if [ -n "$DRY_RUN" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# launcher: sets `launch`, the command that starts RANKS ranks of lte in this allocation, or on this machine.
launcher() {
  local library wants=pmi2 mpirun=mpirun.mpich
  library=$("$LTE" version | sed -n 's/^MPI: //p')
  [[ $library != Open* ]] || { wants=pmix mpirun=mpirun.openmpi; }
  command -v "$mpirun" >/dev/null || mpirun=mpirun
  if [ "$MPI_LAUNCH" = auto ]; then
    MPI_LAUNCH=mpirun
    if [ -n "${SLURM_JOB_ID:-}" ] && srun --mpi=list 2>&1 | grep -qw "$wants"; then MPI_LAUNCH=$wants; fi
  fi
  case $MPI_LAUNCH in
  # -K1: a killed rank ends the others, which would otherwise wait for it.
  pmi2 | pmix) launch=(srun -K1 -W30 "--mpi=$MPI_LAUNCH" "--nodes=$NODES" "--ntasks=$RANKS" "--ntasks-per-node=$RANKS_PER_NODE" "--cpus-per-task=$THREADS") ;;
  mpirun)
    launch=("$mpirun" -np "$RANKS")
    if [[ $library == Open* ]]; then
      launch+=(--oversubscribe --bind-to none)
      [ "$(id -u)" != 0 ] || launch+=(--allow-run-as-root)
    fi
    ;;
  *) echo "$SWEEP: MPI_LAUNCH must be pmi2, pmix or mpirun, not $MPI_LAUNCH" >&2; exit 2 ;;
  esac
}

# attended COMMAND...: runs it and returns its exit code. Signals to this shell are forwarded, and the command waited for; in a
# batch job SLURM sends TERM to the ranks itself, and a second signal would end them without a checkpoint.
attended() {
  local code=0
  "$@" &
  local child=$!
  # shellcheck disable=SC2317 # called by the traps
  pass() { kill -USR1 "$child" 2>/dev/null || true; }
  trap pass USR1
  trap 'cancelled=1; [ -n "${SLURM_JOB_ID:-}" ] || pass' TERM INT
  while :; do
    wait "$child" && code=0 || code=$?
    kill -0 "$child" 2>/dev/null || break # otherwise a signal to this shell ended the wait
  done
  trap - USR1 TERM INT
  return "$code"
}

# Exit code of a run that wrote a checkpoint and is to be resumed.
interrupted=75
cancelled= # set by a signal that ends the task for good

# run_task INDEX: runs or resumes one task; a finished one is left alone.
run_task() {
  local line name code=0 key
  local -a part keys=()
  line=${task_lines[$1]}
  IFS=$'\t' read -ra part <<<"$line"
  name=${part[0]}
  [ -z "$DATA" ] || keys+=(--set "data.path=$DATA")
  for key in "${part[@]:1}" $SET; do keys+=(--set "$key"); done
  local dir=$OUT/$name
  if [ -f "$dir/summary.json" ]; then
    echo "$SWEEP: $name: already finished"
    return
  fi
  local -a command=("${launch[@]}" "$LTE" train --quiet --config "$OUT/sweep.toml" "${keys[@]}" --run-dir "$dir" --resume auto)
  if [ -n "$DRY_RUN" ]; then
    do_ "${command[@]}"
    return
  fi
  echo "$SWEEP: $name"
  rm -f "$dir.failed"
  OMP_NUM_THREADS=$THREADS attended "${command[@]}" || code=$?
  # The exit code of a launcher is sometimes 0 for a failed run.
  [ "$code" != 0 ] || [ -f "$dir/summary.json" ] || code=1
  # A rank or a node was killed: resume from the last checkpoint. $dir.killed has one line per time.
  local times
  times=$(grep -c '' "$dir.killed" 2>/dev/null || :)
  if ((code > 128 && times < RETRIES)) && [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then
    echo "exit code $code on $(hostname)" >>"$dir.killed"
    code=$interrupted
  fi
  case $code in
  0) ;;
  "$interrupted") echo "$SWEEP: $name: to be resumed from its last checkpoint" ;;
  *)
    echo "exit code $code on ${SLURMD_NODENAME:-$(hostname)}${SLURM_ARRAY_JOB_ID:+, job ${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}" >"$dir.failed"
    echo "$SWEEP: $name: failed with exit code $code" >&2
    ;;
  esac
  return "$code"
}

# report: compares the finished runs, and names the others. A sweep may define its own.
report() {
  do_ "$LTE" report "$OUT" --expect "$OUT/tasks.txt" --out "$OUT/report" --title "$SWEEP, $PROFILE"
}

# submit ROLE OPTION...: submits a job of this sweep's script, and prints its number.
submit() (
  # shellcheck disable=SC2030 # only in this subshell
  export LTE_ROLE=$1
  # shellcheck disable=SC2206 # SBATCH_OPTIONS is split into words
  local -a command=(sbatch --parsable "${@:2}" ${PARTITION:+--partition="$PARTITION"} ${ACCOUNT:+--account="$ACCOUNT"} $SBATCH_OPTIONS
    --export=ALL "$LTE_JOBS/$SWEEP.sh")
  if [ -n "$DRY_RUN" ]; then
    do_ env "LTE_ROLE=$1" "${command[@]}" >&3
    echo "${1^^}"
    return
  fi
  # SLURM's variables for this job do not apply to the next one.
  # shellcheck disable=SC2046
  unset $(compgen -v SLURM_ | grep -vx SLURM_CONF)
  "${command[@]}"
)

# submit_all COUNT: submits the tasks as an array, and the report after all of them, however they end.
submit_all() {
  local array report
  array=$(submit task --job-name="$SWEEP" --array="0-$(($1 - 1))${TASKS_AT_ONCE:+%$TASKS_AT_ONCE}" --nodes="$NODES" \
    --ntasks="$RANKS" --ntasks-per-node="$RANKS_PER_NODE" --cpus-per-task="$THREADS" --time="$TIME_LIMIT" --requeue --open-mode=append \
    --signal="B:USR1@$WARN" --output="$OUT/logs/%A_%a.out")
  report=$(submit report --job-name="$SWEEP-report" --dependency="afterany:${array%%;*}" --nodes=1 --ntasks=1 --time=00:15:00 \
    --output="$OUT/logs/report-%j.out")
  echo "$SWEEP: $1 tasks are job ${array%%;*}, the report is job ${report%%;*}, all in $OUT"
}

# prepare: writes the configuration of all tasks and the list of their run directories.
prepare() {
  local config=""
  if [ -f "$LTE_JOBS/$SWEEP.toml" ]; then # otherwise the tasks set everything
    config="base = \"$LTE_JOBS/$SWEEP.toml\""
    [ "$PROFILE" = paper ] || config+=$'\n'$(cat "$LTE_JOBS/$PROFILE.toml")
  fi
  if [ -n "$DRY_RUN" ]; then
    printf '# %s\n%s\n\n' "$OUT/sweep.toml" "$config"
    return
  fi
  mkdir -p "$OUT/logs"
  printf '%s\n' "$config" >"$OUT/sweep.toml"
  "$LTE" config --config "$OUT/sweep.toml" >/dev/null
  tasks | cut -f1 >"$OUT/tasks.txt"
}

# sweep [submit]: runs this sweep here, or submits its jobs, or runs this job's part of it.
sweep() {
  local -a launch=() task_lines=()
  local all count index code=0 ended=0
  all=$(tasks)
  [ -z "$all" ] || mapfile -t task_lines <<<"$all"
  count=${#task_lines[@]}
  if [[ $0 == */slurm_script ]]; then # a batch job
    # shellcheck disable=SC2031
    case ${LTE_ROLE:-} in
    "") prepare && submit_all "$count" ;;
    task)
      launcher
      run_task "$SLURM_ARRAY_TASK_ID" || code=$?
      if [ "$code" = "$interrupted" ] && [ -z "$cancelled" ]; then
        # SLURM ends this shell. If it exited earlier, its exit code could be taken for that of the task's next start.
        if scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; then sleep 60; fi
      fi
      ;;
    report) report ;;
    esac
    exit "$code"
  fi
  exec 3>&1
  prepare
  if [ "${1:-}" = submit ]; then
    submit_all "$count"
    exit
  fi
  [ -z "$DRY_RUN" ] || submit_all "$count" >/dev/null
  launcher
  for ((index = 0; index < count; index++)); do
    run_task "$index" || ended=$?
    [ "$ended" != "$interrupted" ] || exit "$interrupted"
    [ "$ended" = 0 ] || code=1 ended=0
  done
  report || code=$?
  exit "$code"
}

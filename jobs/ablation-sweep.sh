#!/bin/bash
#SBATCH --job-name=ablation-sweep --nodes=1 --ntasks=1 --time=00:10:00 --output=ablation-sweep-%j.out
#
# Heads N × rank r × interval K of `lte` on one vision transformer, compared with `full`: one task per combination and seed.
#
#     PROFILE=smoke sbatch jobs/ablation-sweep.sh                 # through SLURM: the tasks as a job array, then the report
#     PROFILE=smoke jobs/ablation-sweep.sh                        # here, one after another
#     PROFILE=paper DRY_RUN=1 DATA=/data/imagenet100 jobs/ablation-sweep.sh   # print every command, do nothing
#
# This job submits the others; the variables listed in jobs/lib.sh set their size.
#
# PROFILE=paper, per seed, predicted by `lte plan` (docs/measurements/sweeps.md): some 200 core-hours for each of 27 settings of lte, 280 for full; memory of a
# node with 32 ranks 55 GB with 32 heads, more with more; a checkpoint of lte 2 GB with 32 heads of rank 64.

SWEEP=ablation-sweep
for LTE_JOBS in "${LTE_JOBS:-}" "$(dirname "$0")" "${SLURM_SUBMIT_DIR:-}/jobs" "${SLURM_SUBMIT_DIR:-}"; do
  [ ! -f "$LTE_JOBS/lib.sh" ] || break
done
# shellcheck source=jobs/lib.sh
. "$LTE_JOBS/lib.sh"

case $PROFILE in
paper) : "${ALL_HEADS:=32 64 128}" "${ALL_RANKS:=8 32 64}" "${ALL_INTERVALS:=1 10 50}" && size=vit-s/32 ;;
cifar) : "${ALL_HEADS:=2 4 8}" "${ALL_RANKS:=8 32}" "${ALL_INTERVALS:=1 10 50}" && size=128x6/4 ;;
smoke) : "${ALL_HEADS:=2 4}" "${ALL_RANKS:=2 8}" "${ALL_INTERVALS:=5 10}" && size=32x2/2 ;;
esac
export ALL_HEADS ALL_RANKS ALL_INTERVALS

tasks() {
  local rank interval
  scale vit "$size"
  METHODS=full compared all "${model[@]}"
  for HEADS in $ALL_HEADS; do
    for rank in $ALL_RANKS; do
      for interval in $ALL_INTERVALS; do
        METHODS=lte compared "n$HEADS-r$rank-k$interval" "${model[@]}" "lora.rank=$rank" "merge.every=$interval"
      done
    done
  done
}

sweep "$@"

#!/bin/bash
#SBATCH --job-name=mixer-sweep --nodes=1 --ntasks=1 --time=00:10:00 --output=mixer-sweep-%j.out
#
# MLP-Mixers of growing size, `lte` compared with `full`: one task per scale, method and seed.
#
#     PROFILE=smoke sbatch jobs/mixer-sweep.sh                 # through SLURM: the tasks as a job array, then the report
#     PROFILE=smoke jobs/mixer-sweep.sh                        # here, one after another
#     PROFILE=paper DRY_RUN=1 DATA=/data/imagenet100 jobs/mixer-sweep.sh   # print every command, do nothing
#
# This job submits the others; the variables listed in jobs/lib.sh set their size.
#
# PROFILE=paper, per seed, predicted by `lte plan` (docs/measurements/sweeps.md): core-hours of lte and full 680 + 810 (S), 1,787 + 2,639 (B), 5,835 + 9,155 (L);
# memory of a node with 32 ranks 60, 165 and 525 GB.

SWEEP=mixer-sweep
for LTE_JOBS in "${LTE_JOBS:-}" "$(dirname "$0")" "${SLURM_SUBMIT_DIR:-}/jobs" "${SLURM_SUBMIT_DIR:-}"; do
  [ ! -f "$LTE_JOBS/lib.sh" ] || break
done
# shellcheck source=jobs/lib.sh
. "$LTE_JOBS/lib.sh"

case $PROFILE in
paper) : "${SCALES:=mixer-s/32 mixer-b/32 mixer-l/32}" ;;
cifar) : "${SCALES:=64x6/4 128x6/4 256x6/4}" ;;
smoke) : "${SCALES:=16x2/2 32x2/2}" ;;
esac

tasks() { scaled mixer; }

sweep "$@"

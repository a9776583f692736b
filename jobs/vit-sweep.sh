#!/bin/bash
#SBATCH --job-name=vit-sweep --nodes=1 --ntasks=1 --time=00:10:00 --output=vit-sweep-%j.out
#
# Vision transformers of growing size, `lte` compared with `full`: one task per scale, method and seed.
#
#     PROFILE=smoke sbatch jobs/vit-sweep.sh                 # through SLURM: the tasks as a job array, then the report
#     PROFILE=smoke jobs/vit-sweep.sh                        # here, one after another
#     PROFILE=paper DRY_RUN=1 DATA=/data/imagenet100 jobs/vit-sweep.sh   # print every command, do nothing
#
# This job submits the others; the variables listed in jobs/lib.sh set their size.
#
# PROFILE=paper, per seed, predicted by `lte plan` (docs/measurements/sweeps.md): core-hours of lte and full 191 + 238 (T), 587 + 840 (S), 2,047 + 3,280 (B),
# 7,219 + 11,530 (L); memory of a node with 32 ranks 25, 55, 145 and 445 GB; a checkpoint of lte 1, 2, 4 and 10 GB.

SWEEP=vit-sweep
for LTE_JOBS in "${LTE_JOBS:-}" "$(dirname "$0")" "${SLURM_SUBMIT_DIR:-}/jobs" "${SLURM_SUBMIT_DIR:-}"; do
  [ ! -f "$LTE_JOBS/lib.sh" ] || break
done
# shellcheck source=jobs/lib.sh
. "$LTE_JOBS/lib.sh"

case $PROFILE in
paper) : "${SCALES:=vit-t/32 vit-s/32 vit-b/32 vit-l/32}" ;;
cifar) : "${SCALES:=64x6/4 128x6/4 192x6/4 256x6/4}" ;;
smoke) : "${SCALES:=16x2/2 32x2/2 64x2/2}" ;;
esac

tasks() { scaled vit; }

sweep "$@"

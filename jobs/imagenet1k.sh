#!/bin/bash
#SBATCH --job-name=imagenet1k --nodes=1 --ntasks=1 --time=00:10:00 --output=imagenet1k-%j.out
#
# ViT-S/32 on ImageNet-1k, `lte` compared with `full`: one task per method and seed.
#
#     PROFILE=smoke sbatch jobs/imagenet1k.sh                 # through SLURM: the tasks as a job array, then the report
#     PROFILE=smoke jobs/imagenet1k.sh                        # here, one after another
#     PROFILE=paper DRY_RUN=1 DATA=/data/imagenet1k jobs/imagenet1k.sh   # print every command, do nothing
#
# This job submits the others; the variables listed in jobs/lib.sh set their size.
#
# PROFILE=paper, per seed, predicted by `lte plan` (docs/measurements/sweeps.md): 1,775 + 2,543 core-hours for 115 million images; memory of a node with 32 ranks
# 55 GB; a checkpoint of lte 2 GB.

SWEEP=imagenet1k
for LTE_JOBS in "${LTE_JOBS:-}" "$(dirname "$0")" "${SLURM_SUBMIT_DIR:-}/jobs" "${SLURM_SUBMIT_DIR:-}"; do
  [ ! -f "$LTE_JOBS/lib.sh" ] || break
done
# shellcheck source=jobs/lib.sh
. "$LTE_JOBS/lib.sh"

case $PROFILE in
paper) size=vit-s/32 ;;
cifar) size=192x6/4 ;;
smoke) size=32x2/2 ;;
esac

tasks() { SCALES=$size scaled vit; }

sweep "$@"

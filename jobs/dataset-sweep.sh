#!/bin/bash
#SBATCH --job-name=dataset-sweep --nodes=1 --ntasks=1 --time=00:10:00 --output=dataset-sweep-%j.out
#
# One vision transformer on several data sets, `lte` beside `full`: a task for each data set, method and seed.
# DATA is the folder in which the sets lie, DATASETS their names, each a folder or an archive that data.path takes.
#
#     PROFILE=smoke sbatch jobs/dataset-sweep.sh                 # through SLURM: tasks as a job array, then the report
#     PROFILE=smoke jobs/dataset-sweep.sh                        # here, one after another
#     PROFILE=paper DRY_RUN=1 DATA=/data jobs/dataset-sweep.sh   # every command, and nothing done
#
# This job submits the others; their size is in the variables that jobs/lib.sh lists.
#
# Paper's size, a seed, by `lte plan` (docs/sweeps.md): 587 + 840 core-hours for each data set; memory of a node with 32 ranks 55 GB; a
# checkpoint of lte 2 GB.

SWEEP=dataset-sweep
for LTE_JOBS in "${LTE_JOBS:-}" "$(dirname "$0")" "${SLURM_SUBMIT_DIR:-}/jobs" "${SLURM_SUBMIT_DIR:-}"; do
  [ ! -f "$LTE_JOBS/lib.sh" ] || break
done
# shellcheck source=jobs/lib.sh
. "$LTE_JOBS/lib.sh"

case $PROFILE in
paper) : "${DATASETS:=cifar10 cifar100 stl10 caltech256 sun397 imagenet100}" && size=vit-s/32 ;;
cifar) : "${DATASETS:=cifar10 cifar100}" && size=128x6/4 ;;
smoke) : "${DATASETS:=digits}" && size=32x2/2 ;;
esac
export DATASETS

tasks() {
  local set
  scale vit "$size"
  for set in $DATASETS; do
    # In smoke the name alone: digits are in the program.
    compared "${set%%.*}" "${model[@]}" ${DATA:+"data.path=$DATA/$set"}
  done
}

sweep "$@"

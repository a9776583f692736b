#!/bin/bash
#SBATCH --job-name=dataset-sweep --nodes=1 --ntasks=1 --time=00:10:00 --output=dataset-sweep-%j.out
#
# One vision transformer on several data sets, `lte` compared with `full`: one task per data set, method and seed.
# DATA is the folder of the sets, DATASETS their names, each a folder or an archive as data.path allows.
#
#     PROFILE=smoke sbatch jobs/dataset-sweep.sh                 # through SLURM: the tasks as a job array, then the report
#     PROFILE=smoke jobs/dataset-sweep.sh                        # here, one after another
#     PROFILE=paper DRY_RUN=1 DATA=/data jobs/dataset-sweep.sh   # print every command, do nothing
#
# This job submits the others; the variables listed in jobs/lib.sh set their size.
#
# PROFILE=paper, per seed, predicted by `lte plan` (docs/measurements/sweeps.md): 587 + 840 core-hours for each data set; memory of a node with 32 ranks 55 GB; a
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
    # With PROFILE=smoke only the name: the digits are embedded in the program.
    compared "${set%%.*}" "${model[@]}" ${DATA:+"data.path=$DATA/$set"}
  done
}

sweep "$@"

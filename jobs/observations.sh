#!/bin/bash
#SBATCH --job-name=observations --nodes=1 --ntasks=1 --time=00:10:00 --output=observations-%j.out
#
# The runs behind the paper's five observations (docs/observations.md), one task per run and seed, and the verdicts.
#
#     PROFILE=smoke sbatch jobs/observations.sh                 # through SLURM: the tasks as a job array, then the report
#     PROFILE=smoke jobs/observations.sh                        # here, one after another
#     PROFILE=paper DRY_RUN=1 DATA=/data/imagenet100 jobs/observations.sh   # print every command, do nothing
#
# This job submits the others; the variables listed in jobs/lib.sh set their size. METHODS, SCALES, SET and the learning
# rates do not apply: `lte experiment observations` decides what is trained, and OBSERVE holds more flags for it.
#
# PROFILE=paper, per seed, predicted by `lte plan` (docs/measurements/sweeps.md): some 7,000 core-hours for ten runs of ViT-S/32, 600 to 900 each; memory of a
# node with 32 ranks 55 GB; checkpoints of 2 GB.

SWEEP=observations
for LTE_JOBS in "${LTE_JOBS:-}" "$(dirname "$0")" "${SLURM_SUBMIT_DIR:-}/jobs" "${SLURM_SUBMIT_DIR:-}"; do
  [ ! -f "$LTE_JOBS/lib.sh" ] || break
done
# shellcheck source=jobs/lib.sh
. "$LTE_JOBS/lib.sh"

: "${OBSERVE:=}"
export OBSERVE
case $PROFILE in
paper) options=(--rank 64 --images 38000000 --more --set model.preset=vit-s/32 --set data.crop=16) ;;
cifar) options=(--rank 16 --images 96000 --more) ;;
smoke) options=(--rank 4 --images 4800 --set model.depth=2 --set model.width=32 --set model.mlp=128 --set model.heads=2) ;;
esac
read -ra seeds <<<"$SEEDS"
# shellcheck disable=SC2206 # OBSERVE is split into words
options+=(--ranks "$RANKS" --heads "$HEADS" --batch "$BATCH" --seeds "${#seeds[@]}" --data "$DATA" --out "$OUT" $OBSERVE)

tasks() { "$LTE" experiment observations --list "${options[@]}"; }

report() {
  do_ "$LTE" experiment observations --judge "${options[@]}"
  do_ "$LTE" report "$OUT" --expect "$OUT/tasks.txt" --out "$OUT/report" --title "$SWEEP, $PROFILE"
}

sweep "$@"

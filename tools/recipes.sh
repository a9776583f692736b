#!/usr/bin/env bash
# The figures of docs/recipes.md: methods compared at equal images on CIFAR-10 (jobs/equal-images.toml), on two ranks. The learning rate of each is
# searched on validation images with seed 1; the test images are seen by seeds 31, 32 and 33 alone. What is finished is not repeated.
#
#     tools/recipes.sh DATA OUT [NAME...]     # all, or those comparisons; DATA is CIFAR-10, as data.path
#
# LTE is the program, ./lte by default, STEPS a list of lengths, SET more settings, for the model say.
set -euo pipefail

data=$1 out=$2
shift 2
lte=${LTE:-./lte}
folder=$(dirname "$0")/..
export OMP_NUM_THREADS=1

# The settings of a comparison, and the learning rate at which its search begins.
settings() {
  case $1 in
  full-adamw) echo method=full train.batch=32 optimizer.name=adamw optimizer.lr=2.5e-4 ;;
  full-muon) echo method=full train.batch=32 optimizer.name=muon optimizer.lr=1e-3 ;;
  paper) echo recipe=paper lora.heads=4 train.batch=16 optimizer.lr=2.5e-4 ;;
  fast) echo recipe=fast lora.heads=4 train.batch=16 optimizer.lr=1e-3 ;;
  fast16) echo recipe=fast lora.heads=16 train.batch=4 optimizer.lr=1e-3 ;;
  frugal) echo recipe=frugal lora.heads=4 train.batch=16 optimizer.lr=5e-4 ;;
  frugal32) echo recipe=frugal lora.rank=32 lora.heads=4 train.batch=16 optimizer.lr=5e-4 ;;
  *) echo "tools/recipes.sh: no comparison $1" >&2; exit 2 ;;
  esac
}

mkdir -p "$out/runs"
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(full-adamw full-muon paper fast fast16 frugal frugal32)
for steps in ${STEPS:-1000 3000}; do
  for name in "${names[@]}"; do
    flags=(--config "$folder/jobs/equal-images.toml" --set "data.path=$data" --set "train.steps=$steps" --quiet)
    for set in $(settings "$name") ${SET:-}; do
      case $set in
      recipe=*) flags+=(--recipe "${set#*=}") ;;
      *) flags+=(--set "$set") ;;
      esac
    done
    search=$(mpirun -np 2 "$lte" experiment rates --out "$out/rates/$name-$steps" --set checkpoint.keep=1 "${flags[@]}")
    rate=$(sed -n 's/^best: optimizer.lr=\([^,]*\),.*/\1/p' <<<"$search")
    echo "$name, $steps steps: $(tail -n 1 <<<"$search")"
    for seed in 31 32 33; do
      run=$out/runs/$name-$steps-$seed
      mpirun -np 2 "$lte" train --run-dir "$run" --resume auto --seed "$seed" --set checkpoint.keep=1 "${flags[@]}" --set "optimizer.lr=$rate" >"$run.log" 2>&1 ||
        { cat "$run.log"; exit 1; }
      echo "$name, $steps steps, seed $seed: $(grep -o '"test_top1": *[0-9.]*' "$run/summary.json")"
    done
  done
done

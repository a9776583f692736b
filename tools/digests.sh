#!/usr/bin/env bash
# Prints the digest of the weights and the final losses of a matrix of short runs: a change that must not alter what is computed gives the
# same lines before and after. Digests depend on the CPU's instruction set; compare files of one machine.
#
#     tools/digests.sh ./lte >before.txt
#     tools/digests.sh ./lte | diff before.txt -
set -euo pipefail -f

lte=$(realpath "${1:?expected the program, such as ./lte}")
launch=${LTE_MPIRUN:-mpirun}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export OMP_NUM_THREADS=1

# The keys are those of the paper's recipe, which was the default before there were recipes.
recipe=()
if "$lte" train --help | grep -q -- --recipe; then recipe=(--recipe paper); fi
small="train.steps=36 schedule.warmup=4 model.depth=2 model.width=32 model.mlp=64 lora.rank=4 merge.every=5 run.eval_every=12 run.log_every=6 measure.every=12"

# run NAME RANKS ARGUMENT...: trains and prints a line.
run() {
  local name=$1 ranks=$2
  shift 2
  local -a keys=()
  for key in $small; do keys+=(--set "$key"); done
  $launch -np "$ranks" "$lte" train --quiet --run-dir "$name" "${recipe[@]}" "${keys[@]}" "$@" </dev/null >log 2>&1 || { echo "$name: failed" >&2; cat log >&2; exit 1; }
  line "$name" "$ranks"
}

# line NAME RANKS: prints what the run left.
line() {
  printf '%s\t%s\t%s\n' "$1" "$2" "$(sed -n 's/.*"\(weights_digest\|test_loss\|train_loss\)": \(.*[^,]\),*$/\1 \2/p' "$1/summary.json" | paste -sd ' ')"
}

# set_ KEY=VALUE...: the keys as arguments, in the array `set`.
set_() {
  set=()
  local key
  for key in "$@"; do set+=(--set "$key"); done
}

for ranks in 1 2 4; do
  for method in lte full lora mhlora sequential localsgd diloco; do
    run "$method-$ranks" "$ranks" --set "method=$method"
  done
done
while read -r name ranks keys; do
  # shellcheck disable=SC2086 # words
  set_ $keys
  run "$name" "$ranks" "${set[@]}"
done <<'END'
bf16-wire 2 exchange.wire=bf16
int8-wire 2 exchange.wire=int8
int4-wire 4 exchange.wire=int4
int8-zstd 2 exchange.wire=int8 exchange.zstd=true
dense 4 exchange.transport=dense measure.every=0
dense-int8 4 exchange.transport=dense exchange.wire=int8 measure.every=0
overlap 2 exchange.overlap=true
overlap-int8 4 exchange.overlap=true exchange.wire=int8
momentum 2 merge.momentum=0.5
reset-b 2 merge.reset=b
reset-ab-int8 2 merge.reset=ab exchange.wire=int8
clear 2 merge.moments=clear
decay-weights 2 merge.decay=weights
sum 2 merge.combine=sum lora.alpha=8
bias 2 lora.bias=true
schedule 2 merge.schedule=[{until=10,every=1},{until=20,every=3}]
replicas 2 replicas.train=["class_token","heads.head.*"] model.positions=learned
replicas-mhlora 2 method=mhlora replicas.train=["class_token","heads.head.*"]
replicas-sequential 2 method=sequential replicas.train=["heads.head.*"]
affine-full 2 method=full model.norm_affine=true
layers 2 lora.layers=[{match="heads.*",skip=true},{match="*.mlp.*",rank=2}]
two-heads 2 lora.heads=4
two-heads-reset 2 lora.heads=4 merge.reset=ab
eight-heads 1 lora.heads=8
not-shared 2 exchange.share_memory=false
ema 2 ema.decay=0.9
sgd 2 optimizer.name=sgd optimizer.lr=0.02
noise 2 model.dropout=0.1 model.drop_path=0.1 data.mixup=0.8 data.cutmix=1
accumulate 2 train.accumulate=4
shard 2 data.share=shard
same 2 data.share=same
kaiming 2 lora.init=kaiming
mixer 2 model.kind=mixer
mixer-full 2 model.kind=mixer method=full
mixer-int8 4 model.kind=mixer exchange.wire=int8 lora.heads=8
gonum 2 compute.backend=gonum
threads 2 compute.threads=2
bf16-products 2 compute.dtype=bf16
bf16-products-full 2 compute.dtype=bf16 method=full
END

# A run that is stopped in the middle of an interval and resumed, and one that is resumed on other ranks.
for wire in fp32 int8; do
  set_ "exchange.wire=$wire" checkpoint.merges=3 train.steps=18
  run "resumed-$wire" 2 "${set[@]}"
  $launch -np 2 "$lte" train --quiet --resume "resumed-$wire" --set train.steps=36 </dev/null >log 2>&1 || { cat log >&2; exit 1; }
  line "resumed-$wire" 2
done
run elastic 4 --set train.steps=20
$launch -np 2 "$lte" train --quiet --resume elastic --set train.steps=36 --set lora.heads=6 </dev/null >log 2>&1 || { cat log >&2; exit 1; }
line elastic 2

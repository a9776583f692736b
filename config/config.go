// Package config holds the complete description of a run: every key, its default, its unit and its meaning, in one
// place. A configuration is read from TOML, changed by key=value settings, checked, resolved (what depends on the
// method and the number of ranks is filled in), and printed back as TOML that repeats the run.
//
// The struct tags define each key: toml is its name, enum its allowed values, pattern requires a pattern of path.Match, min, max,
// above and below are bounds, resume:"may" lets the value change when a run is resumed, table names the table whose rows are its allowed
// values and their documentation, unit and doc explain it. Reading, checking, printing and help all use them, for the keys of tables in
// a list too.
//
// What depends on the data or the model (a rank larger than a layer, a patch larger than an image) is checked where
// the model is built, in package train; this package checks each key alone and in combination with other keys.
package config

import (
	"lte/family"
	"lte/method"
)

// Config is the configuration of a run. The doc tags are the text of `lte train --help` and of the comments of `lte config`.
type Config struct {
	Method string `toml:"method" table:"method" doc:"training method, with N = lora.heads, K = merge.every and W the main weights"`
	Seed   uint64 `toml:"seed" doc:"seed of all random streams: initialization, order of images, augmentation, dropout"`

	Run        Run        `toml:"run"`
	Checkpoint Checkpoint `toml:"checkpoint"`
	Data       Data       `toml:"data"`
	Synthetic  Synthetic  `toml:"synthetic"`
	Model      Model      `toml:"model"`
	LoRA       LoRA       `toml:"lora"`
	Merge      Merge      `toml:"merge"`
	Exchange   Exchange   `toml:"exchange"`
	Replicas   Replicas   `toml:"replicas"`
	Outer      Outer      `toml:"outer"`
	EMA        EMA        `toml:"ema"`
	Train      Train      `toml:"train"`
	Optimizer  Optimizer  `toml:"optimizer"`
	Schedule   Schedule   `toml:"schedule"`
	Measure    Measure    `toml:"measure"`
	Compute    Compute    `toml:"compute"`
}

// Run says where a run writes and how often it reports.
type Run struct {
	Dir       string  `toml:"dir" resume:"may" doc:"run directory; empty: runs/METHOD-DATASET-TIME. A directory that already holds a run is refused"`
	LogEvery  int     `toml:"log_every" resume:"may" min:"1" max:"1e9" unit:"steps" doc:"steps between records in metrics.jsonl, each written at the next merge"`
	EvalEvery int     `toml:"eval_every" resume:"may" min:"0" max:"1e9" unit:"steps" doc:"steps between evaluations on the test split, each made at the next merge; 0: only at the end"`
	Watchdog  float64 `toml:"watchdog" resume:"may" min:"0" max:"1e9" unit:"seconds" doc:"time without progress after which the job is aborted and the rank that blocks the others is named; must exceed the longest step, measurement, read of a batch or wait for slower ranks, and be at least 0.1; 0: off"`
	TimeLimit float64 `toml:"time_limit" resume:"may" min:"0" max:"1e7" unit:"minutes" doc:"time limit, counted from the start of the program: checkpoint.grace before it the run writes a checkpoint and exits with code 75; 0: only SLURM's limit (SLURM_JOB_END_TIME)"`
}

// Checkpoint says when the state of a run is saved, from which it can be resumed (docs/checkpointing.md).
type Checkpoint struct {
	Minutes float64  `toml:"minutes" resume:"may" min:"0" max:"1e7" unit:"minutes" doc:"minutes between checkpoints; 0: none by time. One is written at the end in any case"`
	Merges  int      `toml:"merges" resume:"may" min:"0" max:"1e9" doc:"merges between checkpoints (steps, for methods without merges); 0: none by number of merges"`
	Keep    int      `toml:"keep" resume:"may" min:"0" max:"1e6" doc:"number of most recent checkpoints to keep; 0: write none, and let signals end the run without one"`
	Best    bool     `toml:"best" resume:"may" doc:"also keep the checkpoint with the best test top-1"`
	Zstd    bool     `toml:"zstd" resume:"may" doc:"compress checkpoints with zstd (lossless)"`
	OnError string   `toml:"on_error" resume:"may" enum:"stop,warn" doc:"if a checkpoint cannot be written: stop the run, or warn and continue training. Earlier checkpoints stay valid"`
	Signals []string `toml:"signals" resume:"may" enum:"TERM,USR1,USR2,INT" doc:"signals, sent to any rank, at which all ranks write a checkpoint and exit with code 75; a second signal ends the job at once"`
	Grace   float64  `toml:"grace" resume:"may" above:"0" max:"1e6" unit:"seconds" doc:"longest time from a signal to the exit; after it the job ends without the checkpoint"`
}

// Data is the image set, its split and its augmentation.
type Data struct {
	Path     string  `toml:"path" resume:"may" doc:"image set, as distributed (docs/data.md): a folder, an archive (tar, tar.zst, tar.gz, zip), a file of the set or a brace pattern of shards; empty: the embedded digits"`
	Kind     string  `toml:"kind" resume:"may" enum:"auto,digits,cifar10,cifar100,stl10,idx,webdataset,folder,packed,synthetic" doc:"format of data.path: digits (1,797 images of 8×8 in 10 classes, embedded), CIFAR or STL-10 (binary), idx (MNIST and similar sets), webdataset, folder (of class folders), packed (by lte data pack), synthetic (noise, for benchmarks: section synthetic); auto: detected"`
	Classes  string  `toml:"classes" doc:"for class folders: a file that lists the folders to read, one per line, such as ImageNet100's; empty: all"`
	TestPart float64 `toml:"test_fraction" above:"0" below:"1" doc:"for a set without a split (digits, Caltech-256, shards whose names do not give it): fraction of every class that is held out for testing, the same images for every seed"`
	Validate float64 `toml:"validation_fraction" min:"0" below:"1" doc:"fraction of the training images of every class that is taken from them and evaluated on in place of the test images, the same images for every seed: to choose hyperparameters without the test images; 0: none"`
	Size     int     `toml:"size" min:"0" max:"16384" unit:"pixels" doc:"side of the images that are fed to the model; 0: the images' own size, which must be the same for all. Other sizes are resized: to random crops in training (data.resized_crop), to the center crop in evaluation (data.keep)"`
	Resize   string  `toml:"resize" enum:"bicubic,bilinear" doc:"interpolation for resizing, antialiased as in Pillow"`
	Keep     float64 `toml:"keep" min:"0.01" max:"1" doc:"with data.size: fraction of the shorter side that the center crop keeps, where no random crop is taken (0.875: resize to 256, keep 224)"`
	Norm     string  `toml:"normalize" enum:"auto,imagenet,cifar10,cifar100,stl10,mnist,half" doc:"mean and standard deviation for normalizing the channels: of a well-known set, half (to -1..1), or auto: of the training images"`
	Workers  int     `toml:"workers" resume:"may" min:"0" max:"1024" doc:"goroutines per rank that read and augment images ahead of the step; 0: as many as compute threads"`
	Share    string  `toml:"share" enum:"split,shard,same" doc:"which images each head sees (each rank, for methods other than lte): split (every step's images are divided into mini-batches, so that each head sees the whole set over time), shard (each head has a fixed part of the set) or same (all heads see the same mini-batch)"`
	Augment  bool    `toml:"augment" doc:"augment training images: resized crop, RandAugment, colour jitter, affine map, crop, flip and erasing, each where enabled; false: feed images as in evaluation"`
	RRC      string  `toml:"resized_crop" enum:"auto,on,off" doc:"random resized crop: feed a crop of random area and aspect ratio; auto: on if data.size is set"`
	Area     float64 `toml:"resized_crop_area" above:"0" max:"1" doc:"random resized crop: smallest area, as a fraction of the image's"`
	Aspect   float64 `toml:"resized_crop_aspect" min:"1" max:"100" doc:"random resized crop: largest ratio of width to height, or of height to width"`
	Rotate   float64 `toml:"rotate" min:"0" max:"360" unit:"degrees" doc:"largest rotation in either direction"`
	Shift    float64 `toml:"shift" min:"0" max:"16384" unit:"pixels" doc:"largest translation in either direction, per axis"`
	Scale    float64 `toml:"scale" min:"0" below:"1" doc:"largest relative change of size in either direction, per axis (0.1: 0.9 to 1.1)"`
	Shear    float64 `toml:"shear" min:"0" below:"90" unit:"degrees" doc:"largest shear in either direction"`
	Flip     bool    `toml:"flip" doc:"flip half of the images horizontally"`
	Crop     int     `toml:"crop" min:"0" max:"16384" unit:"pixels" doc:"pad every side with this many black pixels and take a random crop of the original size"`
	RandAug  int     `toml:"randaugment" min:"0" max:"100" doc:"RandAugment: number of operations per image, drawn from torchvision's 14 and applied in sequence (2 is usual); 0: off"`
	RandMag  int     `toml:"randaugment_magnitude" min:"0" max:"30" doc:"RandAugment: strength of the operations, out of 30 (9 is usual)"`
	Bright   float64 `toml:"brightness" min:"0" max:"100" doc:"colour jitter: largest relative change of brightness in either direction (0.4: 0.6 to 1.4); 0: off"`
	Contrast float64 `toml:"contrast" min:"0" max:"100" doc:"colour jitter: largest relative change of contrast; 0: off"`
	Saturate float64 `toml:"saturation" min:"0" max:"100" doc:"colour jitter: largest relative change of saturation; 0: off"`
	Erasing  float64 `toml:"random_erasing" min:"0" max:"1" doc:"random erasing: fraction of the images of which a piece is erased, 2 to 33 % of their area (0.25 is usual)"`
	Mixup    float64 `toml:"mixup" min:"0" max:"1000" doc:"alpha of mixup's Beta distribution; 0: off"`
	CutMix   float64 `toml:"cutmix" min:"0" max:"1000" doc:"alpha of CutMix's Beta distribution; 0: off. If mixup is on too, each mini-batch gets one of the two"`
	MixProb  float64 `toml:"mix_probability" min:"0" max:"1" doc:"fraction of the mini-batches that are mixed, if mixup or CutMix is on"`
}

// Synthetic is the shape of the random images of data.kind = "synthetic".
type Synthetic struct {
	Images   int `toml:"images" min:"1" max:"1e8" doc:"synthetic: training images"`
	Classes  int `toml:"classes" min:"1" max:"1e6" doc:"synthetic: classes"`
	Channels int `toml:"channels" min:"1" max:"1024" doc:"synthetic: channels of an image"`
	Height   int `toml:"height" min:"1" max:"16384" unit:"pixels" doc:"synthetic: height of an image"`
	Width    int `toml:"width" min:"1" max:"16384" unit:"pixels" doc:"synthetic: width of an image"`
}

// Model is the architecture: a family of models and its sizes.
type Model struct {
	Preset     string  `toml:"preset" table:"preset" doc:"named model size, or empty to use the keys below"`
	Kind       string  `toml:"kind" table:"family" doc:"family of models"`
	Patch      int     `toml:"patch" min:"1" max:"16384" unit:"pixels" doc:"side of a square patch; must divide the image's sides"`
	Depth      int     `toml:"depth" min:"1" max:"1024" doc:"number of blocks"`
	Width      int     `toml:"width" min:"1" max:"65536" doc:"embedding width; for vit a multiple of model.heads"`
	MLP        int     `toml:"mlp" min:"1" max:"262144" doc:"hidden width of a block's MLP (mixer: of the channel MLP)"`
	TokenMLP   int     `toml:"token_mlp" min:"1" max:"262144" doc:"mixer: hidden width of the token MLP"`
	Heads      int     `toml:"heads" min:"1" max:"65536" doc:"vit: number of attention heads"`
	Positions  string  `toml:"positions" enum:"learned,sincos" doc:"vit: position embedding: sincos (fixed 2-D sinusoids) or learned (drawn with standard deviation 0.02; frozen where only heads train, and then of little use unless listed in replicas.train)"`
	NormAffine bool    `toml:"norm_affine" doc:"LayerNorm has scale and shift; they are frozen where only heads train, unless listed in replicas.train"`
	Dropout    float64 `toml:"dropout" min:"0" below:"1" doc:"dropout after the embedding and after every projection, in training"`
	DropPath   float64 `toml:"drop_path" min:"0" below:"1" doc:"stochastic depth: drop-path rate of the last block; the rate grows linearly from 0 at the first block"`
}

// LoRA holds the low-rank heads; read by lte, lora, mhlora and sequential.
type LoRA struct {
	Heads  int         `toml:"heads" resume:"may" min:"0" max:"1048576" doc:"number of heads N over all ranks, for lte a multiple of the number of ranks; 0: one per rank (lte, mhlora), one (lora, sequential), none (full, localsgd, diloco)"`
	Rank   int         `toml:"rank" min:"1" max:"65536" doc:"rank r of each head's factors; at most model.width and model.mlp"`
	Alpha  float64     `toml:"alpha" min:"0" max:"1e9" doc:"LoRA alpha; the scaling is s = alpha/rank. 0: 32, times the number of heads if merges take the mean of their updates; with a shared basis twice the rank"`
	Init   string      `toml:"init" enum:"orthogonal,kaiming" doc:"initialization of A: semi-orthogonal times sqrt(n/r), or Kaiming uniform"`
	Basis  string      `toml:"basis" enum:"auto,own,shared" doc:"lte: own (every head draws its own A), shared (all heads have the same factors at the beginning of every interval, and the mean of their factors travels: bytes do not grow with the number of heads), or auto: shared, unless merge.reset, merge.combine, exchange.transport or lora.bias needs heads with a basis of their own"`
	TrainA bool        `toml:"train_a" doc:"with a shared basis: train A too; false: A is the same for all heads and never sent, so that the mean of B gives exactly the mean of the updates"`
	Bias   bool        `toml:"bias" doc:"A and B have biases, so that the layer's bias changes too"`
	Layers []LayerRule `toml:"layers" doc:"exceptions for single layers, such as [{match = \"heads.*\", skip = true}, {match = \"*.mlp.*\", rank = 8}]; the first match applies"`
}

// LayerRule is an exception for the linear layers whose name matches.
type LayerRule struct {
	Match string  `toml:"match" pattern:"true" doc:"pattern of layer names, such as \"*.mlp.*\""`
	Rank  int     `toml:"rank" min:"0" max:"65536" doc:"rank r; 0: lora.rank"`
	Alpha float64 `toml:"alpha" min:"0" max:"1e9" doc:"LoRA alpha; 0: lora.alpha"`
	Skip  bool    `toml:"skip" doc:"the layer has no heads"`
}

// Merge says when and how heads (lte, sequential) or weights (localsgd, diloco) are merged.
type Merge struct {
	Every    int        `toml:"every" resume:"may" min:"1" max:"1e9" unit:"steps" doc:"local steps K between merges"`
	Schedule []Interval `toml:"schedule" resume:"may" doc:"other intervals at the beginning, such as [{until = 100, every = 1}, {until = 500, every = 5}]; merge.every applies afterwards"`
	Reset    string     `toml:"reset" enum:"auto,none,b,ab" doc:"lte, sequential: what a merge resets: none, B = 0 (b), or B = 0 and a newly drawn A (ab); auto: none for lte, ab for sequential"`
	Moments  string     `toml:"moments" enum:"auto,keep,clear" doc:"whether a merge keeps or clears the optimizer's moments; auto: clear for sequential, else keep"`
	Combine  string     `toml:"combine" enum:"mean,sum" doc:"lte: add the mean or the sum of the heads' updates to W"`
	Momentum float64    `toml:"momentum" min:"0" below:"1" doc:"lte: Nesterov momentum of the merged updates; 0: none"`
	Decay    string     `toml:"decay" enum:"factors,weights" doc:"lte: apply weight decay to the factors at every step, or to W at every merge for all steps since the last"`
}

// Interval is a stretch of the merge schedule.
type Interval struct {
	Until int `toml:"until" min:"1" max:"1e9" unit:"steps" doc:"up to this step"`
	Every int `toml:"every" min:"1" max:"1e9" unit:"steps" doc:"local steps between merges"`
}

// Exchange says what the ranks send at a merge, and how it is encoded; read by lte.
type Exchange struct {
	Wire        string `toml:"wire" enum:"fp32,bf16,int8,int4,int2" doc:"lte: encoding of the exchanged values. Encodings below fp32 send the quantized change since the last merge, and the rounding error is added to the next change (error feedback). int8, int4 and int2 have a scale for every 64 values. W stays float32, and bit-identical on all ranks"`
	Zstd        bool   `toml:"zstd" doc:"lte: compress the exchanged messages with zstd (lossless)"`
	Transport   string `toml:"transport" enum:"factors,dense,rows,auto" doc:"lte: what is exchanged for a layer: factors (A and B of every head), dense (each rank's update of W, summed over its heads), rows (what each rank needs to form some rows of the merged update, then these rows), or auto: the cheapest for each layer on the network, measured at the start. Layers that are measured (measure.layers), and all layers with lora.bias, use factors"`
	ShareMemory bool   `toml:"share_memory" doc:"the ranks of a node keep receive buffers and, in lte, W and what it is formed from (unless replicas.train is set) in shared memory, and divide the work of a merge; false: every rank keeps and computes all of it. The bits are the same"`
	Overlap     bool   `toml:"overlap" doc:"lte without resets: exchange factors while the next interval trains, and merge them at its end: W is one interval late"`
}

// Replicas are parameters that train directly, in addition to the heads; read by lte, lora, mhlora and sequential.
type Replicas struct {
	Train []string `toml:"train" pattern:"true" doc:"parameters that train directly, without factors, by name, such as [\"*.ln_*\", \"class_token\", \"*bias\", \"heads.head.*\"]; a layer whose weight is listed has no heads"`
	LR    float64  `toml:"lr" resume:"may" min:"0" max:"1e30" doc:"their peak learning rate; 0: optimizer.lr"`
	Sync  string   `toml:"sync" enum:"auto,merge,step" doc:"merge: each head trains a copy of its own, averaged at every merge (lte); step: gradients averaged every step (lora, mhlora, sequential); auto: by method"`
}

// Outer is DiLoCo's outer optimizer: SGD with Nesterov momentum on the averaged difference; read by diloco.
type Outer struct {
	LR       float64 `toml:"lr" resume:"may" above:"0" max:"1e30" doc:"diloco: outer learning rate"`
	Momentum float64 `toml:"momentum" resume:"may" min:"0" below:"1" doc:"diloco: outer Nesterov momentum"`
}

// EMA is an exponential moving average of the merged weights.
type EMA struct {
	Decay float64 `toml:"decay" min:"0" below:"1" doc:"decay per step of the moving average of W, which is updated at every merge (full: every step); 0: none. It is evaluated and saved in addition to W; not available in lora and mhlora"`
}

// Train is the length of the training and the size of its batches.
type Train struct {
	Steps          int     `toml:"steps" resume:"may" min:"1" max:"1e9" doc:"optimizer steps; in lte, localsgd and diloco steps of each head or rank, which train in parallel"`
	Batch          int     `toml:"batch" resume:"may" min:"1" max:"1048576" unit:"images" doc:"mini-batch of one head (lte) or one rank (other methods) per step"`
	Accumulate     int     `toml:"accumulate" resume:"may" min:"1" max:"1048576" doc:"number of passes that a mini-batch is split into, their gradients summed; must divide train.batch"`
	EvalBatch      int     `toml:"eval_batch" resume:"may" min:"1" max:"1048576" unit:"images" doc:"mini-batch of one rank in evaluation"`
	LabelSmoothing float64 `toml:"label_smoothing" min:"0" below:"1" doc:"label smoothing of the cross-entropy"`
}

// Optimizer holds the optimizer and its hyperparameters.
type Optimizer struct {
	Name        string  `toml:"name" enum:"adamw,sgd,muon" doc:"adamw (decoupled weight decay), sgd, or muon (the matrices of hidden layers, and factors, by their momentum made orthogonal; the rest by adamw)"`
	LR          float64 `toml:"lr" resume:"may" above:"0" max:"1e30" doc:"peak learning rate"`
	AdamWLR     float64 `toml:"adamw_lr" resume:"may" min:"0" max:"1e30" doc:"muon: peak learning rate of what adamw updates: vectors, tokens and the classifier; 0: optimizer.lr"`
	Beta1       float64 `toml:"beta1" min:"0" below:"1" doc:"adamw: decay of the first moment"`
	Beta2       float64 `toml:"beta2" min:"0" below:"1" doc:"adamw: decay of the second moment"`
	Eps         float64 `toml:"eps" min:"1e-30" max:"1" doc:"adamw: term added to the denominator"`
	Momentum    float64 `toml:"momentum" min:"0" below:"1" doc:"sgd: momentum"`
	Muon        float64 `toml:"muon_momentum" min:"0" below:"1" doc:"muon: momentum, of Nesterov's form"`
	WeightDecay float64 `toml:"weight_decay" resume:"may" min:"0" max:"1e6" doc:"weight decay of the factors where heads train (or of W: merge.decay), else of the weight matrices; never of norms, biases and tokens"`
	ClipNorm    float64 `toml:"clip_norm" resume:"may" min:"0" max:"1e30" doc:"largest 2-norm of a step's gradient, to which larger ones are scaled down; 0: no clipping"`
}

// Schedule is the learning rate over time: linear warm-up, then a decay.
type Schedule struct {
	Kind   string  `toml:"kind" resume:"may" enum:"cosine,linear,constant" doc:"decay after the warm-up, to min_lr at the end; constant: no decay"`
	Warmup int     `toml:"warmup" resume:"may" min:"0" max:"1e9" unit:"steps" doc:"length of the linear warm-up"`
	MinLR  float64 `toml:"min_lr" resume:"may" min:"0" max:"1e30" doc:"learning rate at the end of the decay; at most optimizer.lr"`
}

// Measure says when and for which layers effective ranks of gradients and updates and the alignment of heads are measured.
type Measure struct {
	Every  int      `toml:"every" min:"-1" max:"1e9" unit:"steps" doc:"steps between measurements of effective ranks, norms and the alignment of heads, made at the next merge and at the end; 0: none; -1: 400 if exchange.transport is factors, else none (measured layers must use factors)"`
	Images int      `toml:"images" min:"1" max:"1048576" unit:"images" doc:"training images in the mini-batch whose gradient is measured: always the same, evenly spaced, without augmentation"`
	Layers []string `toml:"layers" pattern:"true" doc:"linear layers to measure, by name; each costs two singular value decompositions, which are divided among the ranks"`
}

// Compute is the back end, its precision and its threads.
type Compute struct {
	Backend string `toml:"backend" resume:"may" enum:"auto,onednn,gonum" doc:"back end: onednn, gonum (pure Go), or auto: the fastest that was built in"`
	DType   string `toml:"dtype" enum:"f32,bf16" doc:"precision of weights and activations in matrix products: f32, or bf16 (back end onednn, CPUs with AVX512_BF16 or AMX); factors, moments, norms, softmax and merges are always float32"`
	Threads int    `toml:"threads" resume:"may" min:"0" max:"4096" doc:"compute threads per rank; 0: OMP_NUM_THREADS, or else the machine's cores divided by its ranks. At most 16 per core of the machine, or 64 where that is more"`
}

// Default returns the built-in configuration: what `lte` without arguments trains.
func Default() Config {
	return Config{
		Method:     method.Default().Name,
		Seed:       1,
		Run:        Run{LogEvery: 20, EvalEvery: 200, Watchdog: 120},
		Checkpoint: Checkpoint{Minutes: 15, Keep: 2, Best: true, OnError: "stop", Signals: []string{"TERM", "USR1", "USR2"}, Grace: 25},
		Data: Data{Kind: "auto", TestPart: 0.2, Resize: "bicubic", Keep: 0.875, Norm: "auto", Share: "split", Augment: true,
			RRC: "auto", Area: 0.08, Aspect: 4.0 / 3, Rotate: 15, Shift: 0.5, Scale: 0.15, Shear: 10, RandMag: 9, MixProb: 1},
		Synthetic: Synthetic{Images: 1024, Classes: 10, Channels: 3, Height: 224, Width: 224},
		Model:     Model{Kind: family.Default().Kind, Patch: 2, Depth: 4, Width: 64, MLP: 256, TokenMLP: 32, Heads: 4, Positions: "sincos"},
		LoRA:      LoRA{Rank: 32, Init: "orthogonal", Basis: "auto"},
		Merge:     Merge{Every: 10, Reset: "auto", Moments: "auto", Combine: "mean", Decay: "factors"},
		Exchange:  Exchange{Wire: "fp32", Transport: "factors", ShareMemory: true},
		Replicas:  Replicas{Sync: "auto"},
		Outer:     Outer{LR: 0.7, Momentum: 0.9},
		Train:     Train{Steps: 1600, Batch: 16, Accumulate: 1, EvalBatch: 64, LabelSmoothing: 0.1},
		Optimizer: Optimizer{Name: "muon", LR: 4e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Momentum: 0.9, Muon: 0.95,
			WeightDecay: 0.01, ClipNorm: 1},
		Schedule: Schedule{Kind: "cosine", Warmup: 80},
		Measure:  Measure{Every: -1, Images: 64, Layers: []string{"*.mlp.0", "*.fc1"}},
		Compute:  Compute{Backend: "auto", DType: "f32"},
	}
}

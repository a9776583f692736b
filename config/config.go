// Package config holds the complete description of a run: every key, its default, its unit and its meaning, in one
// place. A configuration is read from TOML, changed by key=value settings, checked, resolved (what depends on the
// method and the number of ranks is filled in), and printed back as TOML that repeats the run.
//
// The struct tags are the one source of what a key is called, allows and means: toml names it, enum lists its values,
// pattern wants what path.Match takes, min, max, above and below bound it, resume says that it may change when a run goes on,
// table names the table of tables that lists its values and describes them, unit and doc explain it. Reading, checking,
// printing and help all go through them, for the keys of tables in a list too.
//
// What depends on the data or the model (a rank larger than a layer, a patch larger than an image) is checked where
// the model is built, in package train; this package checks what a key allows by itself and beside other keys.
package config

import (
	"lte/method"
	"lte/model/family"
)

// Config is a run. The doc tags are the text of `lte train --help` and of the comments of `lte config`.
type Config struct {
	Method string `toml:"method" table:"method" doc:"training method, with N = lora.heads, K = merge.every and W the main weights"`
	Seed   uint64 `toml:"seed" doc:"seed of every random stream: split, initialisation, order, augmentation"`

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
	Dir       string  `toml:"dir" resume:"may" doc:"run directory; empty: runs/METHOD-DATASET-TIME. A directory that holds a run is refused"`
	LogEvery  int     `toml:"log_every" resume:"may" min:"1" max:"1e9" unit:"steps" doc:"steps between lines of metrics.jsonl; logged at the next merge"`
	EvalEvery int     `toml:"eval_every" resume:"may" min:"0" max:"1e9" unit:"steps" doc:"steps between evaluations on the test split, held at the next merge; 0: only at the end"`
	Watchdog  float64 `toml:"watchdog" resume:"may" min:"0" max:"1e9" unit:"seconds" doc:"time without progress after which the job is ended, and the rank is named that keeps the others waiting: longer than the longest step, measurement, reading of a batch, or wait for slower ranks, and at least 0.1; 0: never"`
	TimeLimit float64 `toml:"time_limit" resume:"may" min:"0" max:"1e7" unit:"minutes" doc:"time after which the job will be ended, from the program's start: checkpoint.grace before it the run writes a checkpoint and exits with 75; 0: none but SLURM's (SLURM_JOB_END_TIME)"`
}

// Checkpoint says when the state of a run is kept, from which it can go on (docs/reliability.md).
type Checkpoint struct {
	Minutes float64  `toml:"minutes" resume:"may" min:"0" max:"1e7" unit:"minutes" doc:"minutes between checkpoints; 0: none by the clock. One is written at the end in any case"`
	Merges  int      `toml:"merges" resume:"may" min:"0" max:"1e9" doc:"merges between checkpoints (steps, where nothing is merged on the way); 0: none by merges"`
	Keep    int      `toml:"keep" resume:"may" min:"0" max:"1e6" doc:"how many of the last checkpoints are kept; 0: none is written, and signals end the run as they end any program"`
	Best    bool     `toml:"best" resume:"may" doc:"keep a checkpoint of the best test top-1, too"`
	Zstd    bool     `toml:"zstd" resume:"may" doc:"compress checkpoints, without loss"`
	OnError string   `toml:"on_error" resume:"may" enum:"stop,warn" doc:"where a checkpoint cannot be written: stop the run, or warn and train on. Those before it stay valid"`
	Signals []string `toml:"signals" resume:"may" enum:"TERM,USR1,USR2,INT" doc:"signals, to any rank, at which all ranks write a checkpoint and exit with 75; a second one ends the job at once"`
	Grace   float64  `toml:"grace" resume:"may" above:"0" max:"1e6" unit:"seconds" doc:"longest time from a signal to the exit; what takes longer is ended without the checkpoint"`
}

// Data says what is learnt from.
type Data struct {
	Path     string  `toml:"path" resume:"may" doc:"image set, as it is distributed (docs/data.md): a folder, an archive (tar, tar.zst, tar.gz, zip), a file of the set or a brace pattern of shards; empty: the embedded digits"`
	Kind     string  `toml:"kind" resume:"may" enum:"auto,digits,cifar10,cifar100,stl10,idx,webdataset,folder,packed,synthetic" doc:"what data.path is: digits (1,797 images of 8×8 in 10 classes, embedded), CIFAR or STL-10 (binary), idx (MNIST and its like), webdataset, folder (of class folders), packed (by lte data pack), synthetic (noise, for benchmarks: section synthetic); auto: found by looking"`
	Classes  string  `toml:"classes" doc:"of class folders: a file that names those to read, one a line, such as ImageNet100's; empty: all"`
	TestPart float64 `toml:"test_fraction" above:"0" below:"1" doc:"of a set that comes without a split (digits, Caltech-256, shards that name none): the part of every class that is set aside for the test, the same for every seed"`
	Size     int     `toml:"size" min:"0" max:"16384" unit:"pixels" doc:"side of the images that the model is fed; 0: their own size, which must then be one. Other sizes are resized: to random pieces in training (data.resized_crop), to the middle in evaluation (data.keep)"`
	Resize   string  `toml:"resize" enum:"bicubic,bilinear" doc:"how images are resized, antialiased as Pillow does it"`
	Keep     float64 `toml:"keep" min:"0.01" max:"1" doc:"with data.size: share of an image's shorter side that is fed where no crop is drawn, the middle (0.875: resized to 256, 224 of it kept)"`
	Norm     string  `toml:"normalize" enum:"auto,imagenet,cifar10,cifar100,stl10,mnist,half" doc:"mean and deviation by which channels are normalised: of a well-known set, half (to -1..1), or auto: those of the training images"`
	Workers  int     `toml:"workers" resume:"may" min:"0" max:"1024" doc:"goroutines of a rank that read and augment images ahead of the step; 0: as many as it has compute threads"`
	Share    string  `toml:"share" enum:"split,shard,same" doc:"which images the heads see (the ranks, where heads do not train alone): split (of each step's images each its own mini-batch, so that all come to see the whole set), shard (each its own fixed part of the set, over and over) or same (all the same mini-batch)"`
	Augment  bool    `toml:"augment" doc:"augment training images: resized crop, RandAugment, colour jitter, affine map, crop, flip and erasing, each where it is on; false: images are fed as in evaluation"`
	RRC      string  `toml:"resized_crop" enum:"auto,on,off" doc:"random resized crop: a piece of an image, of random area and aspect, is all that the model sees; auto: on where data.size is set"`
	Area     float64 `toml:"resized_crop_area" above:"0" max:"1" doc:"least area of that piece, of the image's"`
	Aspect   float64 `toml:"resized_crop_aspect" min:"1" max:"100" doc:"most that the piece is wider than high, or higher than wide"`
	Rotate   float64 `toml:"rotate" min:"0" max:"360" unit:"degrees" doc:"largest rotation either way"`
	Shift    float64 `toml:"shift" min:"0" max:"16384" unit:"pixels" doc:"largest translation either way, per axis"`
	Scale    float64 `toml:"scale" min:"0" below:"1" doc:"largest relative change of size either way, per axis (0.1: 0.9 to 1.1)"`
	Shear    float64 `toml:"shear" min:"0" below:"90" unit:"degrees" doc:"largest shear either way"`
	Flip     bool    `toml:"flip" doc:"mirror half of the images, left to right"`
	Crop     int     `toml:"crop" min:"0" max:"16384" unit:"pixels" doc:"pad every side with that many black pixels and crop at random to the size before"`
	RandAug  int     `toml:"randaugment" min:"0" max:"100" doc:"RandAugment: operations that are drawn for an image and done one after the other, torchvision's 14 (2 is usual); 0: none"`
	RandMag  int     `toml:"randaugment_magnitude" min:"0" max:"30" doc:"RandAugment: strength of all of them, of 30 (9 is usual)"`
	Bright   float64 `toml:"brightness" min:"0" max:"100" doc:"colour jitter: largest relative change of brightness either way (0.4: 0.6 to 1.4); 0: none"`
	Contrast float64 `toml:"contrast" min:"0" max:"100" doc:"colour jitter: of contrast, likewise"`
	Saturate float64 `toml:"saturation" min:"0" max:"100" doc:"colour jitter: of saturation, likewise"`
	Erasing  float64 `toml:"random_erasing" min:"0" max:"1" doc:"random erasing: share of the images that lose a piece, of a fiftieth to a third of their area (0.25 is usual)"`
	Mixup    float64 `toml:"mixup" min:"0" max:"1000" doc:"alpha of mixup's Beta distribution; 0: none"`
	CutMix   float64 `toml:"cutmix" min:"0" max:"1000" doc:"alpha of cutmix's Beta distribution; 0: none. With mixup too, each mini-batch gets one of the two"`
	MixProb  float64 `toml:"mix_probability" min:"0" max:"1" doc:"share of the mini-batches that are mixed, where mixup or cutmix is on"`
}

// Synthetic is the shape of the set of noise that data.kind = "synthetic" stands for.
type Synthetic struct {
	Images   int `toml:"images" min:"1" max:"1e8" doc:"synthetic: training images"`
	Classes  int `toml:"classes" min:"1" max:"1e6" doc:"synthetic: classes"`
	Channels int `toml:"channels" min:"1" max:"1024" doc:"synthetic: channels of an image"`
	Height   int `toml:"height" min:"1" max:"16384" unit:"pixels" doc:"synthetic: height of an image"`
	Width    int `toml:"width" min:"1" max:"16384" unit:"pixels" doc:"synthetic: width of an image"`
}

// Model says what is trained: the family and the sizes of a model.
type Model struct {
	Preset     string  `toml:"preset" table:"preset" doc:"named scale, or empty for the keys below"`
	Kind       string  `toml:"kind" table:"family" doc:"family of models"`
	Patch      int     `toml:"patch" min:"1" max:"16384" unit:"pixels" doc:"side of a square patch; divides the image's sides"`
	Depth      int     `toml:"depth" min:"1" max:"1024" doc:"blocks"`
	Width      int     `toml:"width" min:"1" max:"65536" doc:"embedding width; a multiple of model.heads in a vit"`
	MLP        int     `toml:"mlp" min:"1" max:"262144" doc:"hidden width of a block's MLP (mixer: of the channel MLP)"`
	TokenMLP   int     `toml:"token_mlp" min:"1" max:"262144" doc:"mixer: hidden width of the token MLP"`
	Heads      int     `toml:"heads" min:"1" max:"65536" doc:"vit: attention heads"`
	Positions  string  `toml:"positions" enum:"learned,sincos" doc:"vit: position embedding: sincos (fixed 2-D sinusoids) or learned (normal 0.02; frozen where only heads train, unless a replica: then little but noise)"`
	NormAffine bool    `toml:"norm_affine" doc:"LayerNorm has scale and shift: frozen where only heads train, unless replicas"`
	Dropout    float64 `toml:"dropout" min:"0" below:"1" doc:"dropout after the embedding and after every projection, in training"`
	DropPath   float64 `toml:"drop_path" min:"0" below:"1" doc:"stochastic depth: share of the images that pass the last block's branches by; grows linearly from 0 at the first block"`
}

// LoRA holds the low-rank heads; read by lte, lora, mhlora and sequential.
type LoRA struct {
	Heads  int         `toml:"heads" resume:"may" min:"0" max:"1048576" doc:"heads N of all ranks together, a multiple of their number in lte; 0: one a rank (lte, mhlora), one (lora, sequential), none (full, localsgd, diloco)"`
	Rank   int         `toml:"rank" min:"1" max:"65536" doc:"rank r of every head's factors; at most model.width and model.mlp"`
	Alpha  float64     `toml:"alpha" min:"0" max:"1e9" doc:"LoRA alpha; the scaling is s = alpha/rank. 0: 32, times the number of heads where a merge takes their mean"`
	Init   string      `toml:"init" enum:"orthogonal,kaiming" doc:"initialisation of A: semi-orthogonal times sqrt(n/r), or kaiming uniform"`
	Bias   bool        `toml:"bias" doc:"A and B have biases, so that the layer's bias moves too"`
	Layers []LayerRule `toml:"layers" doc:"exceptions for some layers, such as [{match = \"heads.*\", skip = true}, {match = \"*.mlp.*\", rank = 8}]; the first match counts"`
}

// LayerRule is an exception for the linear layers that it matches.
type LayerRule struct {
	Match string  `toml:"match" pattern:"true" doc:"which layers, by name, such as \"*.mlp.*\""`
	Rank  int     `toml:"rank" min:"0" max:"65536" doc:"rank r; 0: lora.rank"`
	Alpha float64 `toml:"alpha" min:"0" max:"1e9" doc:"LoRA alpha; 0: lora.alpha"`
	Skip  bool    `toml:"skip" doc:"the layer carries no head"`
}

// Merge says when and how heads (lte, sequential) or weights (localsgd, diloco) are merged.
type Merge struct {
	Every    int        `toml:"every" resume:"may" min:"1" max:"1e9" unit:"steps" doc:"local steps K between merges"`
	Schedule []Interval `toml:"schedule" resume:"may" doc:"other intervals at the beginning, such as [{until = 100, every = 1}, {until = 500, every = 5}]; then merge.every"`
	Reset    string     `toml:"reset" enum:"auto,none,b,ab" doc:"lte, sequential: what begins anew at a merge: none, B = 0 (b), or B = 0 and another A (ab); auto: none in lte, ab in sequential"`
	Moments  string     `toml:"moments" enum:"auto,keep,clear" doc:"the optimizer's moments at a merge; auto: clear in sequential, else keep"`
	Combine  string     `toml:"combine" enum:"mean,sum" doc:"lte: W moves by the mean or by the sum of the heads' updates"`
	Momentum float64    `toml:"momentum" min:"0" below:"1" doc:"lte: Nesterov momentum of what merges move W by; 0: none"`
	Decay    string     `toml:"decay" enum:"factors,weights" doc:"lte: weight decay acts on the factors every step, or on W at every merge for all steps since the last"`
}

// Interval is a stretch of the merge schedule.
type Interval struct {
	Until int `toml:"until" min:"1" max:"1e9" unit:"steps" doc:"up to this step"`
	Every int `toml:"every" min:"1" max:"1e9" unit:"steps" doc:"local steps between merges"`
}

// Exchange says how a merge of heads travels; read by lte.
type Exchange struct {
	Wire        string `toml:"wire" enum:"fp32,bf16,int8,int4" doc:"lte: numbers in which heads travel; below fp32 their changes since the last merge, rounded, and what rounding dropped is sent with the next ones. int8 and int4 have a scale for every 64 numbers. W stays float32, and equal to the bit on all ranks"`
	Zstd        bool   `toml:"zstd" doc:"lte: compress what travels, without loss"`
	Transport   string `toml:"transport" enum:"factors,dense,rows,auto" doc:"lte: what travels of a layer: factors (A and B of every head), dense (the sum of each rank's updates of W, as gradients would be averaged), rows (every rank forms some rows of the sum), or auto: the cheapest for each layer, by the network as it is measured at the start. Layers whose heads are measured (measure.layers), and all with lora.bias, travel as factors"`
	ShareMemory bool   `toml:"share_memory" doc:"the ranks of a node hold in common, in shared memory, what comes from other ranks, and with lte W (unless replicas train beside heads) and what it is formed of, and share out the merge; false: every rank holds and does all of it. The bits are the same"`
	Overlap     bool   `toml:"overlap" doc:"lte without resets: heads travel while the next interval trains, and are merged at its end: W is one interval late"`
}

// Replicas are parameters that train as they are beside the heads; read by lte, lora, mhlora and sequential.
type Replicas struct {
	Train []string `toml:"train" pattern:"true" doc:"which parameters, by name, such as [\"*.ln_*\", \"class_token\", \"*bias\", \"heads.head.*\"]; a layer whose weight is one carries no head"`
	LR    float64  `toml:"lr" resume:"may" min:"0" max:"1e30" doc:"their peak learning rate; 0: optimizer.lr"`
	Sync  string   `toml:"sync" enum:"auto,merge,step" doc:"merge: each head trains its own, averaged at every merge (lte); step: gradients averaged every step (lora, mhlora, sequential); auto: what the method does"`
}

// Outer is DiLoCo's outer optimizer: SGD with Nesterov momentum on the averaged difference; read by diloco.
type Outer struct {
	LR       float64 `toml:"lr" resume:"may" above:"0" max:"1e30" doc:"diloco: outer learning rate"`
	Momentum float64 `toml:"momentum" resume:"may" min:"0" below:"1" doc:"diloco: outer Nesterov momentum"`
}

// EMA is an exponential moving average of the merged weights.
type EMA struct {
	Decay float64 `toml:"decay" min:"0" below:"1" doc:"decay per step of the average of W, taken at every merge (full: every step); 0: none. Evaluated and saved beside W; not in lora and mhlora"`
}

// Train says how long and on what batches.
type Train struct {
	Steps          int     `toml:"steps" resume:"may" min:"1" max:"1e9" doc:"optimizer steps; in lte, localsgd and diloco those of each head or rank, all at once"`
	Batch          int     `toml:"batch" resume:"may" min:"1" max:"1048576" unit:"images" doc:"mini-batch of one head (of one rank where there are no heads) and step"`
	Accumulate     int     `toml:"accumulate" resume:"may" min:"1" max:"1048576" doc:"passes that a mini-batch is cut into, their gradients added up; divides train.batch"`
	EvalBatch      int     `toml:"eval_batch" resume:"may" min:"1" max:"1048576" unit:"images" doc:"mini-batch of one rank in evaluation"`
	LabelSmoothing float64 `toml:"label_smoothing" min:"0" below:"1" doc:"label smoothing of the cross-entropy"`
}

// Optimizer says how gradients move parameters.
type Optimizer struct {
	Name        string  `toml:"name" enum:"adamw,sgd" doc:"adamw (decoupled decay) or sgd"`
	LR          float64 `toml:"lr" resume:"may" above:"0" max:"1e30" doc:"peak learning rate"`
	Beta1       float64 `toml:"beta1" min:"0" below:"1" doc:"adamw: decay of the first moment"`
	Beta2       float64 `toml:"beta2" min:"0" below:"1" doc:"adamw: decay of the second moment"`
	Eps         float64 `toml:"eps" min:"1e-30" max:"1" doc:"adamw: term added to the denominator"`
	Momentum    float64 `toml:"momentum" min:"0" below:"1" doc:"sgd: momentum"`
	WeightDecay float64 `toml:"weight_decay" resume:"may" min:"0" max:"1e6" doc:"weight decay: of the factors where heads train (or of W: merge.decay), else of the weight matrices; never of norms, biases and tokens"`
	ClipNorm    float64 `toml:"clip_norm" resume:"may" min:"0" max:"1e30" doc:"largest 2-norm of a step's gradient; 0: not clipped"`
}

// Schedule is the learning rate over time: linear warm-up, then a decay.
type Schedule struct {
	Kind   string  `toml:"kind" resume:"may" enum:"cosine,linear,constant" doc:"decay after the warm-up, to min_lr at the end; constant: none"`
	Warmup int     `toml:"warmup" resume:"may" min:"0" max:"1e9" unit:"steps" doc:"linear warm-up"`
	MinLR  float64 `toml:"min_lr" resume:"may" min:"0" max:"1e30" doc:"learning rate at the end of the decay; at most optimizer.lr"`
}

// Measure says when, and of which layers, ranks of gradients and updates and the alignment of heads are measured.
type Measure struct {
	Every  int      `toml:"every" min:"-1" max:"1e9" unit:"steps" doc:"steps between measurements of effective ranks, norms and the heads' alignment, held at the next merge and at the end; 0: none; -1: 400, and none where exchange.transport leaves a choice, which they would take away"`
	Images int      `toml:"images" min:"1" max:"1048576" unit:"images" doc:"training images of the mini-batch whose gradient is measured: always the same ones, evenly spread, without augmentation"`
	Layers []string `toml:"layers" pattern:"true" doc:"which linear layers, by name; each costs two singular value decompositions, shared out among the ranks"`
}

// Compute says how the arithmetic is done.
type Compute struct {
	Backend string `toml:"backend" resume:"may" enum:"auto,onednn,gonum" doc:"back end: onednn, gonum (pure Go), or auto: the fastest that was built in"`
	DType   string `toml:"dtype" enum:"f32,bf16" doc:"precision in which matrix products read weights and activations: f32, or bf16 (back end onednn, CPUs with AVX512_BF16 or AMX); factors, moments, norms, softmax and merges are float32 always"`
	Threads int    `toml:"threads" resume:"may" min:"0" max:"4096" doc:"compute threads of a rank; 0: OMP_NUM_THREADS, else cores of the machine / ranks on it. At most 16 for each core of the machine, or 64 where that is more"`
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
		LoRA:      LoRA{Rank: 16, Init: "orthogonal"},
		Merge:     Merge{Every: 10, Reset: "auto", Moments: "auto", Combine: "mean", Decay: "factors"},
		Exchange:  Exchange{Wire: "fp32", Transport: "factors", ShareMemory: true},
		Replicas:  Replicas{Sync: "auto"},
		Outer:     Outer{LR: 0.7, Momentum: 0.9},
		Train:     Train{Steps: 1600, Batch: 16, Accumulate: 1, EvalBatch: 64, LabelSmoothing: 0.1},
		Optimizer: Optimizer{Name: "adamw", LR: 5e-4, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Momentum: 0.9,
			WeightDecay: 0.01, ClipNorm: 1},
		Schedule: Schedule{Kind: "cosine", Warmup: 80},
		Measure:  Measure{Every: -1, Images: 64, Layers: []string{"*.mlp.0", "*.fc1"}},
		Compute:  Compute{Backend: "auto", DType: "f32"},
	}
}
